// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/evaluation/suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "tessera/engine/evaluation/score.h"
#include "tessera/text/message_json.h"

namespace tessera::engine {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> text_field(const Json& line, const char* name) {
  const auto found = line.find(name);
  if (found == line.end()) return invalid_argument(fmt::format("\"{}\" is missing", name));
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number()) return found->dump();
  return invalid_argument(fmt::format("\"{}\" is neither text nor a number", name));
}

/// What stands for texts of `shared`, or the text itself.
Result<std::string> part_text(const Json& part, std::span<const std::string> shared) {
  if (part.is_string()) return " " + part.get<std::string>();
  const bool is_pair = part.is_array() && part.size() == 2 && part[0].is_number_unsigned() &&
                       part[1].is_number_unsigned();
  const size_t first = is_pair ? part[0].get<size_t>() : 0,
               count = is_pair ? part[1].get<size_t>() : 0;
  if (!is_pair || first > shared.size() || count > shared.size() - first)
    return invalid_argument(
        fmt::format("{} in \"text\" is neither a sentence nor [first, count] within the {} "
                    "\"sentences\" before",
                    part.dump(), shared.size()));
  std::string text;
  for (const std::string& sentence : shared.subspan(first, count)) text += " " + sentence;
  return text;
}

/// What is to be read before the problem.
Result<std::string> reading(const Json& line, std::span<const std::string> shared) {
  const auto parts = line.find("text");
  if (parts == line.end()) return std::string();
  if (!parts->is_array()) return invalid_argument("\"text\" is no list");
  std::string text;
  for (const Json& part : *parts) {
    TESSERA_ASSIGN(const std::string own, part_text(part, shared));
    text += own;
  }
  return text + "\n\n";
}

Result<std::vector<std::string>> parse_sentences(const Json& list) {
  std::vector<std::string> sentences;
  for (const Json& sentence : list) {
    if (!sentence.is_string()) return invalid_argument("\"sentences\" is no list of texts");
    sentences.push_back(sentence.get<std::string>());
  }
  return sentences;
}

Result<Question> parse_question(const Json& line, std::string_view name,
                                std::span<const std::string> sentences) {
  Question question;
  const bool has_task = line.contains("task");
  question.task = name;
  if (has_task) {
    TESSERA_ASSIGN(question.task, text_field(line, "task"));
  }
  TESSERA_ASSIGN(const std::string problem,
                 text_field(line, line.contains("question") ? "question" : "problem"));
  TESSERA_ASSIGN(const std::string text, reading(line, sentences));
  Json request = {{"messages", Json::array({{{"role", "user"}, {"content", text + problem}}})}};
  if (line.contains("tools")) request["tools"] = line["tools"];
  TESSERA_ASSIGN(question.messages, text::parse_messages(request.dump()));

  if (const auto call = line.find("call"); call != line.end()) {
    if (!call->is_object() || !call->contains("arguments"))
      return invalid_argument("\"call\" is no object with \"name\" and \"arguments\"");
    TESSERA_ASSIGN(std::string called, text_field(*call, "name"));
    question.call =
        text::ToolCall{.name = std::move(called), .arguments = call->at("arguments").dump()};
    return question;
  }
  TESSERA_ASSIGN(question.answer, text_field(line, "answer"));
  if (const size_t mark = question.answer.rfind("####"); mark != std::string::npos) {
    question.answer = trimmed(question.answer.substr(mark + 4));
    question.match = Match::number;
  } else if (!has_task && last_number(question.answer) == question.answer) {
    question.match = Match::number;
  }
  return question;
}

/// The questions of a line.
Result<std::vector<Question>> parse_line(Json line, std::string_view name,
                                         std::span<const std::string> sentences) {
  std::vector<Question> questions;
  const auto take = [&]() -> Result<> {
    TESSERA_ASSIGN(Question question, parse_question(line, name, sentences));
    questions.push_back(std::move(question));
    return {};
  };
  const auto found = line.find("questions");
  if (found == line.end()) {
    TESSERA_TRY(take());
    return questions;
  }
  const Json pairs = *found;
  if (!pairs.is_array()) return invalid_argument("\"questions\" is no list");
  for (const Json& pair : pairs) {
    if (!pair.is_array() || pair.size() != 2)
      return invalid_argument(
          fmt::format("{} in \"questions\" is no [problem, answer]", pair.dump()));
    line["problem"] = pair[0];
    line["answer"] = pair[1];
    TESSERA_TRY(take());
  }
  return questions;
}

}  // namespace

Result<std::vector<Question>> parse_suite(std::string_view lines, std::string_view name) {
  std::vector<Question> questions;
  std::vector<std::string> sentences;
  for (size_t number = 1; !lines.empty(); ++number) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (trimmed(line).empty()) continue;
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object())
      return invalid_argument(fmt::format("line {} is no JSON object", number));
    const auto at_line = [&](const Error& error) {
      return invalid_argument(fmt::format("line {}: {}", number, error.message));
    };
    if (const auto list = json.find("sentences"); list != json.end()) {
      auto parsed = parse_sentences(*list);
      if (!parsed.ok()) return at_line(parsed.error());
      sentences = std::move(*parsed);
      continue;
    }
    auto parsed = parse_line(json, name, sentences);
    if (!parsed.ok()) return at_line(parsed.error());
    std::ranges::move(*parsed, std::back_inserter(questions));
  }
  if (questions.empty()) return invalid_argument("there are no questions");
  return questions;
}

std::vector<Question> first_of_each_task(std::vector<Question> questions, size_t count) {
  std::map<std::string, size_t, std::less<>> seen;
  std::erase_if(questions,
                [&](const Question& question) { return seen[question.task]++ >= count; });
  return questions;
}

}  // namespace tessera::engine
