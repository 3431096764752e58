// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/evaluation/evaluation.h"

#include <gtest/gtest.h>

#include "tessera/engine/testing/fake_model.h"
#include "tessera/text/tiny_tokenizer.h"

namespace tessera::engine {
namespace {

std::vector<Question> questions_of(std::initializer_list<const char*> tasks) {
  std::vector<Question> questions;
  for (const char* task : tasks)
    questions.push_back({.task = task, .messages = {}, .match = Match::text, .answer = "hi"});
  return questions;
}

Evaluation with(std::vector<bool> right) {
  Evaluation evaluation;
  for (const bool one : right) evaluation.outcomes.push_back({.right = one, .text = {}});
  return evaluation;
}

TEST(EvaluationTest, AsksInBatchesAndCounts) {
  const auto tokenizer = text::Tokenizer::parse(text::tiny_tokenizer_json()).value();
  // By position: after a prompt of one token "hi" and the end, after one of two "i" and the end.
  FakeModel model({.sequences = 2, .always = {'h', 'i', 262, 'x'}});
  Generator generator(model, &tokenizer);
  const auto questions = questions_of({"a", "b", "a", "a", "b"});
  const std::vector<EncodedQuestion> encoded = {{.prompt = {'q'}},
                                                {.prompt = {'q', 'r'}},
                                                {.prompt = {'s'}},
                                                {.prompt = {'s', 't'}},
                                                {.prompt = {'u'}}};
  Request request;
  request.max_new_tokens = 8;
  request.end_tokens = {262};
  std::vector<size_t> progress;
  const auto evaluation = evaluate(generator, questions, encoded, group_questions(encoded), request,
                                   2, [&](size_t done) { progress.push_back(done); });
  ASSERT_TRUE(evaluation.ok()) << evaluation.error().to_string();
  EXPECT_EQ(progress, (std::vector<size_t>{2, 4, 5}));
  EXPECT_EQ(evaluation->outcomes[0].text, "hi");
  EXPECT_EQ(evaluation->outcomes[1].text, "i");
  const auto shares = evaluation->shares(questions);
  EXPECT_EQ(shares.at("a").right, 2);
  EXPECT_EQ(shares.at("a").cases, 3);
  EXPECT_EQ(shares.at("b").right, 1);
  EXPECT_EQ(evaluation->generated_tokens, 3 * 3 + 2 * 2);
}

TEST(EvaluationTest, ATextIsReadOnceForItsQuestions) {
  const auto tokenizer = text::Tokenizer::parse(text::tiny_tokenizer_json()).value();
  constexpr int64_t kText = 300;
  const auto prompt = [](TokenId text, std::vector<TokenId> question) {
    std::vector<TokenId> ids(kText, text);
    ids.insert(ids.end(), question.begin(), question.end());
    return EncodedQuestion{.prompt = std::move(ids)};
  };
  // Of the first text two questions, of the second three, of the third one.
  const std::vector<EncodedQuestion> encoded = {prompt('a', {'q', 'r'}), prompt('a', {'q', 's'}),
                                                prompt('b', {'q', 'r'}), prompt('b', {'x', 'y'}),
                                                prompt('b', {'x', 'z'}), prompt('c', {'q'})};
  const auto groups = group_questions(encoded);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].shared_tokens, kText + 1);
  EXPECT_EQ(groups[1].count, 3u);
  EXPECT_EQ(groups[1].shared_tokens, kText);
  EXPECT_EQ(groups[2].shared_tokens, 0);

  const auto questions = questions_of({"t", "t", "t", "t", "t", "t"});
  Request request;
  request.max_new_tokens = 400;  // far past where a sequence can be taken back
  std::vector<std::string> texts;
  for (const bool snapshots : {false, true}) {
    FakeModel model({.context = 2000, .sequences = 2, .snapshots = snapshots});
    Generator generator(model, &tokenizer);
    const auto evaluation = evaluate(generator, questions, encoded, groups, request, 2, {});
    ASSERT_TRUE(evaluation.ok()) << evaluation.error().to_string();
    EXPECT_EQ(evaluation->read_tokens,
              snapshots ? 3 * kText + 1 + 1 + 1 + 3 * 2 + 1 : 5 * (kText + 2) + kText + 1);
    for (size_t i = 0; i < questions.size(); ++i)
      if (snapshots)
        EXPECT_EQ(evaluation->outcomes[i].text, texts[i]);
      else
        texts.push_back(evaluation->outcomes[i].text);
  }
}

TEST(EvaluationTest, ALossHasToBeSignificant) {
  const auto questions = questions_of({"a", "a", "a", "a", "a", "a", "a", "a", "a", "b"});
  const Evaluation good = with(std::vector<bool>(10, true));
  EXPECT_TRUE(losses(questions, good, good).empty());
  // 7 of 7 lost: 1/128 is chance, given two tasks. 9 of 9: 1/512 is not.
  EXPECT_TRUE(losses(questions, good,
                     with({false, false, false, false, false, false, false, true, true, false}))
                  .empty());
  const auto worse =
      losses(questions, good,
             with({false, false, false, false, false, false, false, false, false, false}));
  ASSERT_EQ(worse.size(), 1u);
  EXPECT_EQ(worse[0].task, "a");
  EXPECT_EQ(worse[0].lost, 9);
  EXPECT_EQ(worse[0].won, 0);
  EXPECT_TRUE(
      losses(questions, worse.empty() ? good : with(std::vector<bool>(10, false)), good).empty());
}

}  // namespace
}  // namespace tessera::engine
