// SPDX-License-Identifier: Apache-2.0
// A model's share of right answers, task by task, side by side for precisions or chips.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tessera/base/mapped_file.h"
#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/loaded_model.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/text_input.h"
#include "tessera/engine/evaluation/evaluation.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/precision.h"
#include "tessera/text/chat_texts.h"

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;
using engine::Evaluation;
using engine::Question;
using Json = nlohmann::ordered_json;

/// One column: a precision or a chip, or what the other options say.
struct Variant {
  std::string name;
  Arguments arguments;
};

Result<std::vector<Variant>> variants(const Arguments& arguments) {
  const std::string list = arguments.text("compare");
  if (list.empty()) {
    TESSERA_ASSIGN(const auto folder, model_folder(arguments.text("MODEL")));
    TESSERA_ASSIGN(const auto config, model::deepseek_v4::load_config(folder));
    TESSERA_ASSIGN(const auto precision, chosen_precision(arguments, config));
    return std::vector{Variant{std::string(name(precision)), arguments}};
  }
  std::vector<Variant> all;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    Variant variant{list.substr(begin, end - begin), arguments};
    const bool is_precision = model::deepseek_v4::parse_precision(variant.name).has_value();
    if (!is_precision)
      TESSERA_TRY(as_usage(runtime::find_chip(variant.name.substr(0, variant.name.find(':')))));
    variant.arguments.add(is_precision ? "precision" : "chip", {variant.name});
    all.push_back(std::move(variant));
    begin = end + 1;
  }
  if (all.size() < 2)
    return invalid_argument(fmt::format(
        "--compare names {} alone, expected at least two precisions or chips", all[0].name));
  return all;
}

/// "tiny" and "recall" come with the program, beside its models.
Result<fs::path> suite_file(const std::string& suite) {
  if (suite != "tiny" && suite != "recall") return fs::path(suite);
  TESSERA_ASSIGN(const fs::path model, model_folder("tiny"));
  return model.parent_path().parent_path() / "suites" / (suite + ".jsonl");
}

Result<std::vector<Question>> load_questions(const Arguments& arguments, int64_t limit) {
  TESSERA_ASSIGN(const fs::path file, suite_file(arguments.text("suite", "tiny")));
  TESSERA_ASSIGN(const std::string lines, read_text_file(file.string()));
  TESSERA_ASSIGN(std::vector<Question> questions,
                 engine::parse_suite(lines, file.stem().string()).context(file.string()));
  const std::string task = arguments.text("task");
  if (!task.empty()) {
    std::erase_if(questions, [&](const Question& question) { return question.task != task; });
    if (questions.empty())
      return invalid_argument(fmt::format("{} has no task \"{}\"", file.string(), task));
  }
  if (limit > 0)
    questions = engine::first_of_each_task(std::move(questions), static_cast<size_t>(limit));
  return questions;
}

class Evaluator {
 public:
  Evaluator(const Arguments& arguments, const Program& program)
      : arguments_(arguments), program_(program) {}

  Result<int> run() {
    TESSERA_ASSIGN(variants_, variants(arguments_));
    TESSERA_ASSIGN(const int64_t limit, whole_number(arguments_, "limit", 0, 0));
    TESSERA_ASSIGN(batch_, whole_number(arguments_, "batch", 16, 1));
    TESSERA_ASSIGN(request_, read_request(arguments_));
    TESSERA_ASSIGN(questions_, load_questions(arguments_, limit));
    TESSERA_TRY(encode());
    for (Variant& variant : variants_) {
      TESSERA_ASSIGN(Evaluation evaluation, evaluate(variant));
      evaluations_.push_back(std::move(evaluation));
    }
    if (evaluations_[0].outcomes.empty()) return 0;  // of several ranks the first one asks
    for (size_t i = 1; i < variants_.size(); ++i)
      losses_.push_back(engine::losses(questions_, evaluations_[0], evaluations_[i]));
    if (arguments_.json())
      fmt::print("{}\n", json().dump());
    else
      print();
    return std::ranges::all_of(losses_, &std::vector<engine::Loss>::empty) ? 0 : 1;
  }

 private:
  Result<> encode() {
    TESSERA_ASSIGN(const fs::path folder, model_folder(arguments_.text("MODEL")));
    TESSERA_ASSIGN(const text::Tokenizer tokenizer, load_tokenizer(folder));
    TESSERA_ASSIGN(const text::ChatOptions chat, chat_options(arguments_, folder));
    TESSERA_ASSIGN(encoded_, engine::encode_questions(questions_, tokenizer, chat));
    groups_ = engine::group_questions(encoded_);
    if (const auto end = tokenizer.control_token(text::kEndOfSentence))
      request_.end_tokens.push_back(*end);
    return {};
  }

  Result<Evaluation> evaluate(Variant& variant) {
    size_t longest = 0;
    for (const auto& question : encoded_) longest = std::max(longest, question.prompt.size());
    const int64_t context = static_cast<int64_t>(longest) + request_.max_new_tokens;
    if (!variant.arguments.has("context"))
      variant.arguments.add("context", {fmt::to_string(context)});
    variant.arguments.add("batch", {fmt::to_string(batch_)});
    Evaluation evaluation;
    const auto ask = [&](LoadedModel& loaded) -> Result<int> {
      engine::Request request = request_;
      request.end_tokens.insert(request.end_tokens.end(), loaded.end_tokens.begin(),
                                loaded.end_tokens.end());
      ProgressBar bar;
      auto asked = engine::evaluate(
          *loaded.generator, questions_, encoded_, groups_, request, static_cast<size_t>(batch_),
          [&](size_t done) { bar.update(variant.name, done, questions_.size()); });
      bar.clear();
      TESSERA_ASSIGN(evaluation, std::move(asked));
      return 0;
    };
    TESSERA_TRY(with_model(variant.arguments, program_,
                           {.snapshots = groups_.size() < encoded_.size()}, ask));
    return evaluation;
  }

  void print() const {
    fmt::print("{:<20} {:>6}", "task", "cases");
    for (const Variant& variant : variants_) fmt::print("  {:>24}", variant.name);
    fmt::print("\n");
    std::vector<std::map<std::string, engine::Share>> columns;
    for (const Evaluation& evaluation : evaluations_)
      columns.push_back(evaluation.shares(questions_));
    std::vector<engine::Share> sums(columns.size());
    for (const auto& [task, first] : columns[0]) {
      std::vector<engine::Share> row;
      for (size_t i = 0; i < columns.size(); ++i) {
        row.push_back(columns[i].at(task));
        sums[i].right += row[i].right;
        sums[i].cases += row[i].cases;
      }
      print_row(task, row);
    }
    if (columns[0].size() > 1) print_row("all", sums);
    print_speed();
    for (size_t i = 0; i < losses_.size(); ++i)
      for (const engine::Loss& loss : losses_[i])
        fmt::print(
            "{} falls below {} at {}: {} answers right with {} alone, {} with {} alone (chance "
            "{:.1e})\n",
            variants_[i + 1].name, variants_[0].name, loss.task, loss.lost, variants_[0].name,
            loss.won, variants_[i + 1].name, loss.chance);
    if (arguments_.flag("show")) print_wrong();
  }

  static void print_row(const std::string& task, const std::vector<engine::Share>& row) {
    fmt::print("{:<20} {:>6}", task, row[0].cases);
    for (const engine::Share& share : row)
      fmt::print("  {:>6.2f} % [{:>6.2f}, {:>6.2f}]", 100 * share.value(), 100 * share.low(),
                 100 * share.high());
    fmt::print("\n");
  }

  void print_speed() const {
    fmt::print("{:<27}", "tok/s");
    for (const Evaluation& e : evaluations_)
      fmt::print("  {:>24.1f}", double(e.generated_tokens) / e.seconds);
    fmt::print("\n");
    if (!arguments_.flag("mtp")) return;
    fmt::print("{:<27}", "drafts accepted");
    for (const Evaluation& e : evaluations_)
      fmt::print("  {:>24}", fmt::format("{:.2f} % of {}", 100 * acceptance(e), e.drafted_tokens));
    fmt::print("\n");
  }

  void print_wrong() const {
    for (size_t v = 0; v < variants_.size(); ++v)
      for (size_t i = 0; i < questions_.size(); ++i) {
        if (evaluations_[v].outcomes[i].right) continue;
        const Question& question = questions_[i];
        fmt::print("{} {}: {} -> {}, expected {}\n", variants_[v].name, question.task,
                   Json(question.messages.back().content).dump(),
                   Json(evaluations_[v].outcomes[i].text)
                       .dump(-1, ' ', false, Json::error_handler_t::replace),
                   question.call ? question.call->arguments : question.answer);
      }
  }

  static double acceptance(const Evaluation& e) {
    return e.drafted_tokens > 0 ? double(e.accepted_tokens) / double(e.drafted_tokens) : 0;
  }

  Json json() const {
    Json out = {{"variants", Json::array()}, {"below", Json::array()}};
    for (size_t i = 0; i < variants_.size(); ++i) {
      const Evaluation& e = evaluations_[i];
      Json tasks = Json::object();
      for (const auto& [task, share] : e.shares(questions_))
        tasks[task] = {{"cases", share.cases},
                       {"right", share.right},
                       {"share", share.value()},
                       {"low", share.low()},
                       {"high", share.high()}};
      Json variant = {{"name", variants_[i].name},
                      {"tasks", tasks},
                      {"tokens_per_second", double(e.generated_tokens) / e.seconds}};
      if (arguments_.flag("mtp")) {
        variant["drafted_tokens"] = e.drafted_tokens;
        variant["accepted_tokens"] = e.accepted_tokens;
      }
      out["variants"].push_back(std::move(variant));
    }
    for (size_t i = 0; i < losses_.size(); ++i)
      for (const engine::Loss& loss : losses_[i])
        out["below"].push_back({{"name", variants_[i + 1].name},
                                {"task", loss.task},
                                {"lost", loss.lost},
                                {"won", loss.won},
                                {"chance", loss.chance}});
    return out;
  }

  const Arguments& arguments_;
  const Program& program_;
  int64_t batch_ = 1;
  engine::Request request_;
  std::vector<Variant> variants_;
  std::vector<Question> questions_;
  std::vector<engine::EncodedQuestion> encoded_;
  std::vector<engine::QuestionGroup> groups_;
  std::vector<Evaluation> evaluations_;            // one a variant
  std::vector<std::vector<engine::Loss>> losses_;  // of each variant but the first
};

Result<int> run(const Arguments& arguments, const Program& program) {
  return Evaluator(arguments, program).run();
}

}  // namespace

CommandSpec eval_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "eval",
      .summary = "Count how many questions of a suite a model answers right",
      .details =
          "Prints the share of right answers of each task with its 95 % Wilson interval. An answer "
          "is right\nwhen it is the expected text, or its last number the expected number. With "
          "--compare each name is\na precision or a chip; the exit code is 1 when one falls "
          "significantly below the first\n(sign test over the same questions, 1 %).\n"
          "A suite is a file of JSON lines: {\"task\", \"problem\", \"answer\"}, or problems and "
          "answers as those of\nGSM8K and AIME are published.\n"
          "Examples: tessera eval tiny --limit 20\n"
          "          tessera eval tiny --compare native,bf16,fp32\n"
          "          tessera eval tiny --suite recall --task recall-2000\n"
          "          tessera eval DIR --suite gsm8k_test.jsonl --thinking -n 4096 --json",
      .positionals = {kModelPositional},
      .options = generation_options(
          {{"--suite", Kind::kText, "SUITE", "tiny (default), recall or a file of JSON lines"},
           {"--task", Kind::kText, "TASK", "Only questions of this task"},
           {"--limit", Kind::kNumber, "N", "Only the first N questions of each task"},
           {"--batch", Kind::kNumber, "N", "Questions answered at once (default 16)"},
           {"--compare", Kind::kText, "A,B", "Precisions or chips side by side"},
           {"--show", Kind::kFlag, "", "Print what was answered wrong"}}),
      .run = run};
}

}  // namespace tessera::cli
