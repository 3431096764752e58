// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/evaluation/suite.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

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

Result<Question> parse_line(const Json& line, std::string_view name) {
  Question question;
  const bool has_task = line.contains("task");
  question.task = name;
  if (has_task) {
    TESSERA_ASSIGN(question.task, text_field(line, "task"));
  }
  TESSERA_ASSIGN(const std::string problem,
                 text_field(line, line.contains("question") ? "question" : "problem"));
  Json request = {{"messages", Json::array({{{"role", "user"}, {"content", problem}}})}};
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

}  // namespace

Result<std::vector<Question>> parse_suite(std::string_view lines, std::string_view name) {
  std::vector<Question> questions;
  for (size_t number = 1; !lines.empty(); ++number) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (trimmed(line).empty()) continue;
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object())
      return invalid_argument(fmt::format("line {} is no JSON object", number));
    auto question = parse_line(json, name);
    if (!question.ok())
      return invalid_argument(fmt::format("line {}: {}", number, question.error().message));
    questions.push_back(std::move(*question));
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
