// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "tessera/cli/answer_printer.h"
#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/interrupt.h"
#include "tessera/cli/loaded_model.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/text_input.h"
#include "tessera/text/chat_texts.h"

namespace tessera::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Input {
  std::string text;
  std::optional<std::vector<text::TokenId>> ids;
};

Result<Input> read_input(const Arguments& arguments) {
  const int given =
      int(arguments.has("prompt")) + int(arguments.has("PROMPT")) + int(arguments.has("ids"));
  if (given != 1)
    return invalid_argument(given == 0
                                ? "no prompt; give -p TEXT, --ids 5,6,7, or - for standard input"
                                : "several prompts; give one of -p, --ids and PROMPT");
  Input input;
  if (arguments.has("ids")) {
    std::string ids = arguments.text("ids");
    if (ids == "-") {
      TESSERA_ASSIGN(ids, read_text_file("-"));
    }
    TESSERA_ASSIGN(input.ids, parse_token_ids(ids));
    return input;
  }
  const std::string text = arguments.text("prompt", arguments.text("PROMPT"));
  TESSERA_ASSIGN(input.text, text == "-" ? read_text_file("-") : checked_utf8(text, "the prompt"));
  return input;
}

/// The tokens of text that is not chat: begin of sentence, then the text.
Result<std::vector<text::TokenId>> raw_ids(const text::Tokenizer& tokenizer,
                                           const std::string& text, bool control_tokens) {
  TESSERA_ASSIGN(auto ids, tokenizer.encode(text, {.control_tokens = control_tokens}));
  const auto begin = tokenizer.control_token(text::kBeginOfSentence);
  if (begin && (ids.empty() || ids[0] != *begin)) ids.insert(ids.begin(), *begin);
  return ids;
}

class Runner {
 public:
  Runner(const Arguments& arguments, LoadedModel& loaded, engine::Request request)
      : arguments_(arguments),
        loaded_(loaded),
        request_(std::move(request)),
        printer_(arguments.json()) {
    request_.end_tokens = loaded.end_tokens;
  }

  Result<int> run(const Input& input) {
    const bool chat = !input.ids && !arguments_.flag("raw");
    bar_.update("prompt (the first run compiles kernels)", 0, 1);
    TESSERA_TRY(chat ? ask(input.text) : complete(input));
    bar_.clear();
    printer_.finish();
    if (arguments_.flag("compare")) TESSERA_TRY(compare());
    if (arguments_.json()) {
      out_.update(answer_json(answer_));
      fmt::print("{}\n", out_.dump());
    }
    if (arguments_.flag("stats")) print_stats();
    return answer_.finish == engine::FinishReason::cancelled ? 130 : 0;
  }

 private:
  void print_stats() const {
    fmt::print(stderr, "loaded in {:.3f} s; {}; {}\n", loaded_.seconds, stats_text(answer_.stats),
               memory_text(loaded_));
    if (const auto& device = *loaded_.session.device; !device.finish_identity().empty())
      fmt::print(stderr, "{} kernels compiled by the driver\n", device.driver_compilations());
    if (const std::string traffic = traffic_text(loaded_, answer_.stats); !traffic.empty())
      fmt::print(stderr, "{}\n", traffic);
  }

  Result<> ask(const std::string& text) {
    engine::Conversation conversation(*loaded_.generator, *loaded_.tokenizer);
    TESSERA_ASSIGN(conversation.chat, chat_options(arguments_, loaded_.folder));
    conversation.chat.control_tokens_in_content = arguments_.flag("control-tokens");
    conversation.request = request_;
    if (arguments_.has("system"))
      conversation.add({.role = text::Role::system, .content = arguments_.text("system")});
    TESSERA_ASSIGN(engine::Reply reply, conversation.ask(text, {.on_part =
                                                                    [&](const auto& part) {
                                                                      bar_.clear();
                                                                      printer_.part(part);
                                                                    },
                                                                .on_prompt = progress(),
                                                                .cancelled = interrupt_.flag()}));
    request_ = conversation.request;
    out_ = message_json(reply.completion);
    answer_ = std::move(reply.answer);
    return {};
  }

  Result<> complete(const Input& input) {
    const bool has_text = loaded_.tokenizer != nullptr;
    if (input.ids) {
      request_.prompt = *input.ids;
    } else {
      TESSERA_ASSIGN(request_.prompt,
                     raw_ids(*loaded_.tokenizer, input.text, arguments_.flag("control-tokens")));
    }
    const auto show = [&, first = true](size_t, text::TokenId id, std::string_view text) mutable {
      bar_.clear();
      printer_.text(has_text ? std::string(text) : fmt::format("{}{}", first ? "" : ",", id));
      first = false;
    };
    TESSERA_ASSIGN(auto answers,
                   loaded_.generator->generate({&request_, 1}, {.on_token = show,
                                                                .on_prompt = progress(),
                                                                .cancelled = interrupt_.flag()}));
    answer_ = std::move(answers[0]);
    if (has_text) out_["text"] = answer_.text;
    return {};
  }

  /// The same once more without drafts.
  Result<> compare() {
    engine::Generator plain(*loaded_.model, loaded_.tokenizer.get());
    TESSERA_ASSIGN(const auto answers, plain.generate({&request_, 1}));
    const auto& expected = answers[0].ids;
    size_t equal = 0;
    for (size_t i = 0; i < std::min(expected.size(), answer_.ids.size()); ++i)
      equal += expected[i] == answer_.ids[i] ? 1 : 0;
    const size_t count = std::max(expected.size(), answer_.ids.size());
    out_["equal_without_drafts"] = static_cast<double>(equal) / static_cast<double>(count);
    fmt::print(stderr, "{} of {} tokens are those of decoding without drafts ({:.1f} %)\n", equal,
               count, 100.0 * static_cast<double>(equal) / static_cast<double>(count));
    return {};
  }

  std::function<void(int64_t, int64_t)> progress() {
    return [&](int64_t done, int64_t total) {
      if (total > 1024)
        bar_.update("prompt", static_cast<size_t>(done), static_cast<size_t>(total));
    };
  }

  const Arguments& arguments_;
  LoadedModel& loaded_;
  engine::Request request_;
  AnswerPrinter printer_;
  ProgressBar bar_;
  Interrupt interrupt_;
  engine::Answer answer_;
  Json out_ = Json::object();
};

Result<int> run(const Arguments& arguments, const Program& program) {
  TESSERA_ASSIGN(const Input input, read_input(arguments));
  TESSERA_ASSIGN(engine::Request request, read_request(arguments));
  return with_model(arguments, program, {.tokenizer = !input.ids}, [&](LoadedModel& loaded) {
    return Runner(arguments, loaded, std::move(request)).run(input);
  });
}

}  // namespace

CommandSpec run_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "run",
      .summary = "Answer a prompt",
      .details =
          "The prompt is a message in a chat; --raw continues it as plain text, --ids takes "
          "tokens.\n"
          "Control tokens in the prompt are text unless --control-tokens is given. A model without "
          "tokenizer\nprints token ids.\n"
          "Examples: tessera run tiny -p 'Hello'\n"
          "          tessera run DIR --thinking -t 1 --stats - < question.txt\n"
          "          tessera run DIR --ids 5,6,7 -n 24",
      .positionals = {kModelPositional, {"PROMPT", "The prompt; - is standard input", false}},
      .options = generation_options(
          {{"-p,--prompt", Kind::kText, "TEXT", "The prompt; - is standard input"},
           {"--ids", Kind::kText, "IDS", "The prompt as token ids: 5,6,7; - is standard input"},
           {"--raw", Kind::kFlag, "", "Plain text to go on from, not a message"},
           {"--control-tokens", Kind::kFlag, "", "Control tokens in the prompt count"},
           {"--compare", Kind::kFlag, "",
            "With --mtp: decode again without drafts and print the share of equal tokens"}}),
      .run = run};
}

}  // namespace tessera::cli
