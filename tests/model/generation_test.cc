// SPDX-License-Identifier: Apache-2.0
// The engine on the model tiny: drafts that are right, drafts that are wrong, batches and prompts
// that go on give the tokens that plain decoding gives.
#include <algorithm>

#include "tessera/engine/deepseek_model.h"
#include "tessera/engine/generator.h"
#include "tests/model/model_fixture.h"

namespace tessera::model_test {
namespace {

using engine::Answer;
using engine::Generator;
using engine::Request;
using engine::TokenId;

/// The model with drafts from a text known beforehand, every fourth of them wrong: for prompts that
/// mean nothing its own drafts are a matter of luck.
class KnownDrafts : public engine::DeepSeekModel {
 public:
  KnownDrafts(std::unique_ptr<Model> model, std::vector<TokenId> text)
      : DeepSeekModel(std::move(model)), text_(std::move(text)) {}

  Result<std::span<const float>> draft(std::span<const engine::TokenSpan> spans) override {
    TESSERA_TRY(DeepSeekModel::draft(spans));
    logits_.assign(spans.size() * static_cast<size_t>(vocabulary()), 0);
    for (size_t i = 0; i < spans.size(); ++i) {
      const auto next = static_cast<size_t>(spans[i].position + std::ssize(spans[i].tokens) + 1);
      TokenId id = next < text_.size() ? text_[next] : 0;
      if (next % 4 == 0) id = id == 7 ? 8 : 7;
      logits_[i * static_cast<size_t>(vocabulary()) + static_cast<size_t>(id)] = 1;
    }
    return std::span<const float>(logits_);
  }

 private:
  std::vector<TokenId> text_;
  std::vector<float> logits_;
};

class GenerationTest : public testing::Test {
 protected:
  static std::unique_ptr<Model> load() {
    return Machine::shared().load(
        TESSERA_TINY_MODEL,
        {.context = 512, .sequences = 2, .largest_step = 64, .deterministic = true, .mtp = true});
  }
  static std::vector<TokenId> prompt(size_t tokens, size_t first) {
    std::vector<TokenId> ids;
    for (size_t i = 0; i < tokens; ++i)
      ids.push_back(static_cast<TokenId>((first + i * 37) % 1000));
    return ids;
  }
  static Answer answer(Generator& generator, std::vector<TokenId> prompt, int64_t tokens) {
    Request request;
    request.prompt = std::move(prompt);
    request.max_new_tokens = tokens;
    return std::move(generator.generate({&request, 1}).value()[0]);
  }
};

TEST_F(GenerationTest, AcceptedAndRejectedDraftsLeaveTheText) {
  constexpr size_t kPrompt = 121;  // the answer passes 128, a ring's end and compressed entries
  engine::DeepSeekModel model(load());
  Generator plain(model, nullptr);
  const Answer expected = answer(plain, prompt(kPrompt, 3), 40);
  std::vector<TokenId> text = prompt(kPrompt, 3);
  text.insert(text.end(), expected.ids.begin(), expected.ids.end());
  KnownDrafts known(load(), text);
  Generator speculating(known, nullptr, {.speculate = true});
  const Answer drafted = answer(speculating, prompt(kPrompt, 3), 40);
  EXPECT_EQ(drafted.ids, expected.ids);
  EXPECT_GT(drafted.stats.accepted_tokens, 10);
  EXPECT_LT(drafted.stats.accepted_tokens, drafted.stats.drafted_tokens);
}

// As a chat with reasoning does: the next prompt parts from the cached text before a long answer,
// and goes on from there as if it were computed anew. The window's ring turns meanwhile.
TEST_F(GenerationTest, GoesBackToTheEndOfAPrompt) {
  const auto load_with = [](bool snapshots) {
    return Machine::shared().load(
        TESSERA_TINY_MODEL,
        {.context = 1024, .largest_step = 64, .deterministic = true, .snapshots = snapshots});
  };
  engine::DeepSeekModel model(load_with(true)), other(load_with(false));
  Generator generator(model, nullptr), anew(other, nullptr);
  std::vector<TokenId> text = prompt(131, 3);
  for (int turn = 0; turn < 3; ++turn) {
    const auto length = std::ssize(text);
    const Answer first = answer(generator, text, 280);
    EXPECT_EQ(first.ids.size(), 280u);
    text.back() = 11;
    const std::vector<TokenId> question = prompt(9, 500);
    text.insert(text.end(), question.begin(), question.end());
    const Answer second = answer(generator, text, 30);
    EXPECT_EQ(second.stats.reused_tokens, length - 1);
    anew.forget();
    EXPECT_EQ(second.ids, answer(anew, text, 30).ids) << turn;
  }
}

TEST_F(GenerationTest, ABatchAndAPromptThatGoesOnGiveTheSameTokens) {
  engine::DeepSeekModel model(load());
  Generator generator(model, nullptr);
  std::vector<Request> requests(2);
  requests[0].prompt = prompt(30, 5);
  requests[1].prompt = prompt(7, 600);
  for (Request& request : requests) request.max_new_tokens = 12;
  const auto together = generator.generate(requests).value();
  for (size_t i = 0; i < 2; ++i) {
    generator.forget();
    EXPECT_EQ(answer(generator, requests[i].prompt, 12).ids, together[i].ids) << i;
  }
  std::vector<TokenId> longer = requests[1].prompt;
  longer.insert(longer.end(), together[1].ids.begin(), together[1].ids.end());
  longer.push_back(9);
  const Answer continued = answer(generator, longer, 12);
  EXPECT_EQ(continued.stats.reused_tokens, 18);
  generator.forget();
  EXPECT_EQ(answer(generator, longer, 12).ids, continued.ids);
}

}  // namespace
}  // namespace tessera::model_test
