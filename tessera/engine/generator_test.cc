// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/generator.h"

#include <gtest/gtest.h>

#include "tessera/engine/testing/fake_model.h"
#include "tessera/text/tiny_tokenizer.h"

namespace tessera::engine {
namespace {

std::vector<TokenId> some_tokens(size_t count, TokenId first = 3) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<TokenId>((static_cast<size_t>(first) + i * 17) % 256));
  return tokens;
}

Request request(std::vector<TokenId> prompt, int64_t tokens = 40) {
  return {.prompt = std::move(prompt),
          .max_new_tokens = tokens,
          .sampling = {},
          .stop = {},
          .end_tokens = {}};
}

Answer answer_of(Generator& generator, const Request& request, const GenerationHooks& hooks = {}) {
  auto answers = generator.generate({&request, 1}, hooks);
  EXPECT_TRUE(answers.ok()) << (answers.ok() ? "" : answers.error().to_string());
  return answers.ok() ? std::move((*answers)[0]) : Answer{};
}

TEST(GeneratorTest, ChunksOfAnySizeGiveTheSameAnswer) {
  std::vector<TokenId> expected;
  for (const int64_t chunk : {0, 1, 5, 16}) {
    FakeModel model;
    Generator generator(model, nullptr, {.chunk = chunk});
    const Answer answer = answer_of(generator, request(some_tokens(37)));
    EXPECT_EQ(answer.finish, FinishReason::length);
    EXPECT_EQ(answer.ids.size(), 40u);
    EXPECT_EQ(answer.stats.prompt_tokens, 37);
    EXPECT_EQ(answer.stats.generated_tokens, 40);
    if (expected.empty()) expected = answer.ids;
    EXPECT_EQ(answer.ids, expected) << chunk;
    EXPECT_EQ(model.tokens_run, 37 + 39);
  }
}

TEST(GeneratorTest, GoesBackToTheEndOfThePromptHoweverLongTheAnswer) {
  for (const bool speculate : {false, true}) {
    FakeModel model({.context = 400, .snapshots = true});
    Generator generator(model, nullptr, {.speculate = speculate});
    std::vector<TokenId> prompt = some_tokens(50);
    answer_of(generator, request(prompt, 60));
    const auto fresh = [&] {
      FakeModel other({.context = 400});
      Generator anew(other, nullptr);
      return answer_of(anew, request(prompt)).ids;
    };
    // Another end of the prompt, within the rollback before the place.
    prompt.back() = 9;
    prompt.push_back(10);
    Answer answer = answer_of(generator, request(prompt));
    EXPECT_EQ(answer.stats.reused_tokens, 49);
    EXPECT_EQ(answer.ids, fresh());
    // On from the place.
    prompt.push_back(11);
    answer = answer_of(generator, request(prompt));
    EXPECT_EQ(answer.stats.reused_tokens, 51);
    EXPECT_EQ(answer.ids, fresh());
    // Before it there is no way but from the beginning.
    prompt[20] = 12;
    answer = answer_of(generator, request(prompt));
    EXPECT_EQ(answer.stats.reused_tokens, 0);
    EXPECT_EQ(answer.ids, fresh());
  }
}

TEST(GeneratorTest, DraftsChangeTheSpeedAndNotTheAnswer) {
  for (const double temperature : {0.0, 0.5}) {
    Request wanted = request(some_tokens(21), 100);
    wanted.sampling.temperature = temperature;
    wanted.sampling.seed = 5;
    FakeModel plain_model;
    Generator plain(plain_model, nullptr);
    const Answer expected = answer_of(plain, wanted);
    FakeModel model;
    Generator generator(model, nullptr, {.speculate = true});
    const Answer answer = answer_of(generator, wanted);
    EXPECT_EQ(answer.ids, expected.ids);
    EXPECT_GT(answer.stats.accepted_tokens, temperature == 0 ? 30 : 0);
    EXPECT_LT(answer.stats.accepted_tokens, answer.stats.drafted_tokens);
    EXPECT_EQ(model.steps, plain_model.steps - answer.stats.accepted_tokens);
  }
}

TEST(GeneratorTest, RightDraftsAreAllAccepted) {
  FakeModel model({.wrong_drafts = 0});
  Generator generator(model, nullptr, {.speculate = true});
  const Answer answer = answer_of(generator, request(some_tokens(5), 41));
  EXPECT_EQ(answer.stats.acceptance(), 1);
  EXPECT_EQ(answer.stats.accepted_tokens, 20);
  EXPECT_EQ(answer.ids.size(), 41u);
}

TEST(GeneratorTest, SequencesOfABatchGetTheirOwnAnswers) {
  std::vector<Request> requests = {request(some_tokens(3, 1), 12), request(some_tokens(30, 2), 25),
                                   request(some_tokens(11, 9), 1)};
  requests[1].sampling = {.temperature = 1, .seed = 3};
  for (const bool speculate : {false, true}) {
    FakeModel model({.sequences = 3});
    Generator generator(model, nullptr, {.speculate = speculate});
    const auto answers = generator.generate(requests).value();
    ASSERT_EQ(answers.size(), 3u);
    for (size_t i = 0; i < requests.size(); ++i) {
      FakeModel alone_model;
      Generator alone(alone_model, nullptr);
      EXPECT_EQ(answers[i].ids, answer_of(alone, requests[i]).ids) << i;
    }
  }
}

TEST(GeneratorTest, APromptThatGoesOnIsComputedFromThere) {
  FakeModel model;
  Generator generator(model, nullptr, {.speculate = true});
  std::vector<TokenId> prompt = some_tokens(20);
  const Answer first = answer_of(generator, request(prompt, 10));
  EXPECT_EQ(first.stats.reused_tokens, 0);
  prompt.insert(prompt.end(), first.ids.begin(), first.ids.end());
  prompt.push_back(7);
  const Answer second = answer_of(generator, request(prompt, 10));
  EXPECT_GE(second.stats.reused_tokens, 28);
  FakeModel fresh_model;
  Generator fresh(fresh_model, nullptr);
  EXPECT_EQ(second.ids, answer_of(fresh, request(prompt, 10)).ids);
  // The same prompt again lies too far back for the caches: it is computed anew.
  const Answer third = answer_of(generator, request(some_tokens(20), 10));
  EXPECT_EQ(third.stats.reused_tokens, 0);
  EXPECT_EQ(third.ids, first.ids);
  // One that ends just behind is not.
  prompt = some_tokens(20);
  prompt.insert(prompt.end(), third.ids.begin(), third.ids.begin() + 8);
  EXPECT_EQ(answer_of(generator, request(prompt, 2)).stats.reused_tokens, 27);
  generator.forget();
  EXPECT_EQ(answer_of(generator, request(prompt, 2)).stats.reused_tokens, 0);
}

TEST(GeneratorTest, EndTokensEndTheAnswerWithoutText) {
  const auto tokenizer = text::Tokenizer::parse(text::tiny_tokenizer_json()).value();
  FakeModel model({.always = {0, 'h', 'i', 262, 'x', 'y', 'z'}});
  for (const bool speculate : {false, true}) {
    Generator generator(model, &tokenizer, {.speculate = speculate});
    Request wanted = request({'a', 'b'});
    wanted.end_tokens = {262};
    const Answer answer = answer_of(generator, wanted);
    EXPECT_EQ(answer.finish, FinishReason::end_token);
    EXPECT_EQ(answer.ids, (std::vector<TokenId>{'h', 'i', 262}));
    EXPECT_EQ(answer.text, "hi");
  }
}

TEST(GeneratorTest, TextIsStreamedWholeCharacterByCharacter) {
  const auto tokenizer = text::Tokenizer::parse(text::tiny_tokenizer_json()).value();
  // "é", then the beginning of a character that never ends
  FakeModel model({.always = {'a', 0xC3, 0xA9, 'b', 0xE4}});
  Generator generator(model, &tokenizer);
  std::vector<std::string> parts;
  const GenerationHooks hooks{
      .on_token = [&](size_t, TokenId, std::string_view text) { parts.emplace_back(text); },
      .on_prompt = {}};
  const Answer answer = answer_of(generator, request({'a'}, 5), hooks);
  EXPECT_EQ(parts, (std::vector<std::string>{"a", "", "é", "b", "", "\uFFFD"}));
  EXPECT_EQ(answer.text, "aéb\uFFFD");
}

TEST(GeneratorTest, StopTextsEndTheAnswerAcrossTokens) {
  const auto tokenizer = text::Tokenizer::parse(text::tiny_tokenizer_json()).value();
  FakeModel model({.always = {'o', 'n', 'E', 'N', 'd', ' ', 'E', 'N', 'D', '!', '?'}});
  Generator generator(model, &tokenizer);
  Request wanted = request({'a'});
  wanted.stop = {"STOP", "END"};
  std::string streamed;
  const GenerationHooks hooks{
      .on_token = [&](size_t, TokenId, std::string_view text) { streamed += text; },
      .on_prompt = {}};
  const Answer answer = answer_of(generator, wanted, hooks);
  EXPECT_EQ(answer.finish, FinishReason::stop_text);
  EXPECT_EQ(answer.stop_text, "END");
  EXPECT_EQ(answer.text, "onENd ");
  EXPECT_EQ(streamed, answer.text);
  EXPECT_EQ(answer.ids.size(), 9u);
  wanted.max_new_tokens = 4;  // ends while "EN" could still become a stop text
  EXPECT_EQ(answer_of(generator, wanted).text, "onEN");
}

TEST(GeneratorTest, TheContextEndsAnAnswer) {
  for (const bool speculate : {false, true}) {
    FakeModel model({.context = 30});
    Generator generator(model, nullptr, {.speculate = speculate});
    const Answer answer = answer_of(generator, request(some_tokens(20), 0));
    EXPECT_EQ(answer.finish, FinishReason::context);
    EXPECT_EQ(answer.ids.size(), 11u);  // the last one has no place, but it was sampled
    const Answer full = answer_of(generator, request(some_tokens(30), 0));
    EXPECT_EQ(full.ids.size(), 1u);
  }
}

TEST(GeneratorTest, CancellationKeepsWhatThereIs) {
  FakeModel model;
  Generator generator(model, nullptr);
  std::atomic<bool> cancelled = false;
  int tokens = 0;
  const GenerationHooks hooks{
      .on_token = [&](size_t, TokenId, std::string_view) { cancelled = ++tokens == 5; },
      .on_prompt = {},
      .cancelled = &cancelled};
  const Answer answer = answer_of(generator, request(some_tokens(20)), hooks);
  EXPECT_EQ(answer.finish, FinishReason::cancelled);
  EXPECT_EQ(answer.ids.size(), 5u);
  // Within a prompt: what was computed is of use later.
  generator.forget();
  const GenerationHooks early{.on_token = {},
                              .on_prompt = [&](int64_t, int64_t) { cancelled = true; },
                              .cancelled = &cancelled};
  cancelled = false;
  EXPECT_TRUE(answer_of(generator, request(some_tokens(40)), early).ids.empty());
  EXPECT_EQ(answer_of(generator, request(some_tokens(40))).stats.reused_tokens, 16);
}

TEST(GeneratorTest, ProgressOfPromptsIsReported) {
  FakeModel model({.sequences = 2});
  Generator generator(model, nullptr);
  std::vector<std::pair<int64_t, int64_t>> seen;
  const std::vector<Request> requests = {request(some_tokens(20), 1), request(some_tokens(3), 1)};
  ASSERT_TRUE(
      generator
          .generate(requests, {.on_token = {},
                               .on_prompt = [&](int64_t done,
                                                int64_t total) { seen.push_back({done, total}); }})
          .ok());
  EXPECT_EQ(seen, (std::vector<std::pair<int64_t, int64_t>>{{16, 23}, {20, 23}, {23, 23}}));
}

TEST(GeneratorTest, AnErrorOfTheModelIsPassedOnAndNothingIsReused) {
  FakeModel model;
  Generator generator(model, nullptr);
  model.fail_at_step = 4;
  const Request wanted = request(some_tokens(20));
  const auto failed = generator.generate({&wanted, 1});
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message, "the device is gone");
  EXPECT_EQ(answer_of(generator, wanted).stats.reused_tokens, 0);
}

TEST(GeneratorTest, WrongRequestsAreNamed) {
  FakeModel model({.context = 30, .drafts = false});
  Generator generator(model, nullptr);
  const auto expect = [&](const Request& wanted, const std::string& text) {
    const auto answers = generator.generate({&wanted, 1});
    ASSERT_FALSE(answers.ok());
    EXPECT_EQ(answers.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(answers.error().message, text);
  };
  expect(request({}), "the prompt is empty");
  expect(request(some_tokens(31)),
         "the prompt has 31 tokens, the context holds 30; shorten it or raise --context");
  expect(request({5, 300}), "no token 300 in this model; ids are 0 to 299");
  expect(request({-1}), "no token -1 in this model; ids are 0 to 299");
  expect(request({5}, -2), "-2 new tokens are wanted, expected 1 or more");
  Request wanted = request({5});
  wanted.stop = {"x"};
  expect(wanted, "stop texts need a tokenizer, and the model has none");
  wanted = request({5});
  wanted.sampling.top_p = 0;
  expect(wanted, "top-p is 0, expected above 0 and up to 1");
  const std::vector<Request> two = {request({5}), request({6})};
  EXPECT_EQ(generator.generate(two).error().message,
            "2 prompts at once, the model was loaded for 1");
  Generator speculating(model, nullptr, {.speculate = true});
  EXPECT_EQ(speculating.generate({two.data(), 1}).error().message,
            "this model has no draft block (MTP); run it without --mtp");
  const auto tokenizer = text::Tokenizer::parse(text::tiny_tokenizer_json()).value();
  Generator with_text(model, &tokenizer);
  wanted = request({5});
  wanted.stop = {""};
  EXPECT_EQ(with_text.generate({&wanted, 1}).error().message, "a stop text is empty");
}

}  // namespace
}  // namespace tessera::engine
