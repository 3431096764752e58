// SPDX-License-Identifier: Apache-2.0
// Questions with known answers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/text/message.h"

namespace tessera::engine {

/// How an answer is held against the expected one: letter for letter but for white space around
/// it, or by the last number in it.
enum class Match : uint8_t { text, number };

struct Question {
  std::string task;  // accuracy is counted by task
  std::vector<text::Message> messages;
  Match match = Match::text;
  std::string answer;
  std::optional<text::ToolCall> call = {};  // expected instead of an answer
};

/// One JSON object a line; empty lines are passed over.
///
///   {"task": "add", "problem": "What is 1 + 2?", "answer": "3"}
///   {"task": "tool", "problem": "What is 1 + 2?", "tools": [..], "call": {"name": .., "arguments":
///   {..}}}
///   {"sentences": ["..", ".."]}                      no question: shared by the lines that follow
///   {"task": "recall", "text": ["..", [5, 40]], "problem": "..", "answer": ".."}
///   {"task": "recall", "text": [..], "questions": [["problem", "answer"], ..]}    of one text
///   {"question": "..", "answer": ".. #### 18"}       as in GSM8K: the number behind ####
///   {"problem": "..", "answer": 204}                 as in AIME: a number, plain or as text
///
/// "text" is read before the problem, an empty line between them: sentences, or [first, count] of
/// the shared ones, each behind a space. "tools" are those of a chat completion request. Lines
/// without "task" count under `name`; their answers are matched by number where they are one.
/// Errors (invalid_argument) say which line.
Result<std::vector<Question>> parse_suite(std::string_view lines, std::string_view name);

/// The first `count` questions of each task, in their order.
std::vector<Question> first_of_each_task(std::vector<Question> questions, size_t count);

}  // namespace tessera::engine
