// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/evaluation/score.h"

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tessera/text/chat_texts.h"
#include "tessera/text/completion.h"

namespace tessera::engine {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr double kDeviations = 1.959963984540054;  // of a normal distribution, 95 % within

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool same_json(const std::string& a, const std::string& b) {
  const auto x = nlohmann::json::parse(a, nullptr, false),
             y = nlohmann::json::parse(b, nullptr, false);
  return !x.is_discarded() && x == y;
}

/// Centre and half width of Wilson's interval.
std::pair<double, double> wilson(int64_t right, int64_t cases) {
  if (cases == 0) return {0.5, 0.5};
  const double n = double(cases), p = double(right) / n, z2 = kDeviations * kDeviations;
  const double root = std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {(p + z2 / (2 * n)) / (1 + z2 / n), kDeviations * root / (1 + z2 / n)};
}

}  // namespace

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kSpace) - begin + 1));
}

std::string last_number(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && !is_digit(text[end - 1])) --end;
  size_t begin = end;
  const auto belongs = [&](size_t i) {
    if (is_digit(text[i])) return true;
    return (text[i] == ',' || text[i] == '.') && i > 0 && is_digit(text[i - 1]);
  };
  while (begin > 0 && belongs(begin - 1)) --begin;
  if (begin > 0 && begin < end && text[begin - 1] == '-') --begin;
  std::string number(text.substr(begin, end - begin));
  std::erase(number, ',');
  return number;
}

bool is_right(const Question& question, const Answer& answer, bool starts_in_reasoning) {
  if (answer.finish != FinishReason::end_token) return false;
  const auto completion =
      text::parse_completion_strictly(answer.text + std::string(text::kEndOfSentence),
                                      {.starts_in_reasoning = starts_in_reasoning});
  if (!completion.ok()) return false;
  if (question.call)
    return completion->tool_calls.size() == 1 &&
           completion->tool_calls[0].name == question.call->name &&
           same_json(completion->tool_calls[0].arguments, question.call->arguments);
  if (!completion->tool_calls.empty()) return false;
  if (question.match == Match::text)
    return trimmed(completion->content) == trimmed(question.answer);
  const std::string given = last_number(completion->content);
  return !given.empty() && std::strtod(given.c_str(), nullptr) ==
                               std::strtod(last_number(question.answer).c_str(), nullptr);
}

double Share::low() const {
  const auto [centre, half] = wilson(right, cases);
  return std::max(0.0, centre - half);
}

double Share::high() const {
  const auto [centre, half] = wilson(right, cases);
  return std::min(1.0, centre + half);
}

double chance_of_loss(int64_t lost, int64_t won) {
  const double n = double(lost + won);
  double chance = 0;
  for (int64_t k = lost; k <= lost + won; ++k)
    chance += std::exp(std::lgamma(n + 1) - std::lgamma(double(k) + 1) -
                       std::lgamma(n - double(k) + 1) - n * std::log(2.0));
  return std::min(1.0, chance);
}

}  // namespace tessera::engine
