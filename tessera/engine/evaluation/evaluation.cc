// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/evaluation/evaluation.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>

#include "tessera/text/chat_texts.h"

namespace tessera::engine {

Result<std::vector<EncodedQuestion>> encode_questions(std::span<const Question> questions,
                                                      const text::Tokenizer& tokenizer,
                                                      const text::ChatOptions& chat) {
  std::vector<EncodedQuestion> encoded;
  encoded.reserve(questions.size());
  for (const Question& question : questions) {
    TESSERA_ASSIGN(const text::RenderedPrompt prompt, text::render_prompt(question.messages, chat));
    TESSERA_ASSIGN(std::vector<TokenId> ids,
                   tokenizer.encode(prompt.text, {.literal = prompt.literal}));
    encoded.push_back(
        {.prompt = std::move(ids), .starts_in_reasoning = prompt.starts_in_reasoning});
  }
  return encoded;
}

std::vector<QuestionGroup> group_questions(std::span<const EncodedQuestion> encoded) {
  constexpr int64_t kLeast = 256;  // reading fewer again costs little
  std::vector<QuestionGroup> groups;
  for (size_t i = 0; i < encoded.size(); ++i) {
    const std::vector<TokenId>& prompt = encoded[i].prompt;
    if (!groups.empty()) {
      QuestionGroup& group = groups.back();
      const std::vector<TokenId>& first = encoded[group.first].prompt;
      int64_t common = std::ranges::mismatch(first, prompt).in2 - prompt.begin();
      if (group.count > 1) common = std::min(common, group.shared_tokens);
      if (common >= kLeast && 2 * common >= std::ssize(first) && 2 * common >= std::ssize(prompt)) {
        ++group.count;
        group.shared_tokens = common;
        continue;
      }
    }
    groups.push_back({.first = i, .count = 1});
  }
  return groups;
}

void Evaluation::take(size_t question, const Answer& answer, bool right) {
  outcomes[question] = {.right = right, .text = answer.text};
  generated_tokens += answer.stats.generated_tokens;
  drafted_tokens += answer.stats.drafted_tokens;
  accepted_tokens += answer.stats.accepted_tokens;
  read_tokens += answer.stats.prompt_tokens - answer.stats.reused_tokens;
}

std::map<std::string, Share> Evaluation::shares(std::span<const Question> questions) const {
  std::map<std::string, Share> shares;
  for (size_t i = 0; i < questions.size(); ++i) {
    Share& share = shares[questions[i].task];
    ++share.cases;
    share.right += outcomes[i].right ? 1 : 0;
  }
  return shares;
}

Result<Evaluation> evaluate(Generator& generator, std::span<const Question> questions,
                            std::span<const EncodedQuestion> encoded,
                            std::vector<QuestionGroup> groups, const Request& request, size_t batch,
                            const std::function<void(size_t done)>& progress) {
  const auto start = std::chrono::steady_clock::now();
  Evaluation evaluation;
  evaluation.outcomes.resize(questions.size());
  size_t done = 0;
  // Questions of one task end at about the same time: a batch is of neighbours.
  for (size_t first = 0; first < groups.size(); first += batch) {
    const auto together = std::span(groups).subspan(first, std::min(batch, groups.size() - first));
    // Those that still have questions are the first ones, and each stays with its sequence.
    std::ranges::stable_sort(together, std::greater{}, &QuestionGroup::count);
    for (size_t turn = 0; turn < together[0].count; ++turn) {
      std::vector<Request> requests;
      std::vector<size_t> asked;
      for (const QuestionGroup& group : together) {
        if (turn >= group.count) break;
        asked.push_back(group.first + turn);
        Request& own = requests.emplace_back(request);
        own.prompt = encoded[asked.back()].prompt;
        own.shared_tokens = group.shared_tokens;
      }
      TESSERA_ASSIGN(const std::vector<Answer> answers, generator.generate(requests));
      for (size_t i = 0; i < asked.size(); ++i)
        evaluation.take(
            asked[i], answers[i],
            is_right(questions[asked[i]], answers[i], encoded[asked[i]].starts_in_reasoning));
      done += asked.size();
      if (progress) progress(done);
    }
  }
  evaluation.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return evaluation;
}

std::vector<Loss> losses(std::span<const Question> questions, const Evaluation& first,
                         const Evaluation& second) {
  constexpr double kLevel = 0.01;
  std::map<std::string, Loss> tasks;
  for (size_t i = 0; i < questions.size(); ++i) {
    Loss& loss = tasks[questions[i].task];
    loss.task = questions[i].task;
    const bool before = first.outcomes[i].right, after = second.outcomes[i].right;
    loss.lost += before && !after ? 1 : 0;
    loss.won += !before && after ? 1 : 0;
  }
  std::vector<Loss> worse;
  for (auto& [task, loss] : tasks) {
    loss.chance = chance_of_loss(loss.lost, loss.won);
    if (loss.chance * double(tasks.size()) < kLevel) worse.push_back(loss);
  }
  return worse;
}

}  // namespace tessera::engine
