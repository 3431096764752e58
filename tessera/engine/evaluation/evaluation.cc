// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/evaluation/evaluation.h"

#include <algorithm>
#include <chrono>
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
                            std::span<const EncodedQuestion> encoded, const Request& request,
                            size_t batch, const std::function<void(size_t done)>& progress) {
  const auto start = std::chrono::steady_clock::now();
  Evaluation evaluation;
  evaluation.outcomes.resize(questions.size());
  // Questions of one task end at about the same time: a batch is of neighbours.
  for (size_t first = 0; first < questions.size(); first += batch) {
    const size_t count = std::min(batch, questions.size() - first);
    std::vector<Request> requests(count, request);
    for (size_t i = 0; i < count; ++i) requests[i].prompt = encoded[first + i].prompt;
    TESSERA_ASSIGN(const std::vector<Answer> answers, generator.generate(requests));
    for (size_t i = 0; i < count; ++i) {
      const size_t at = first + i;
      evaluation.outcomes[at] = {
          .right = is_right(questions[at], answers[i], encoded[at].starts_in_reasoning),
          .text = answers[i].text};
      evaluation.generated_tokens += answers[i].stats.generated_tokens;
      evaluation.drafted_tokens += answers[i].stats.drafted_tokens;
      evaluation.accepted_tokens += answers[i].stats.accepted_tokens;
    }
    if (progress) progress(first + count);
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
