// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/conversation.h"

#include <gtest/gtest.h>

#include "tessera/engine/testing/fake_model.h"
#include "tessera/text/chat_texts.h"
#include "tessera/text/tiny_tokenizer.h"

namespace tessera::engine {
namespace {

constexpr TokenId kEnd = 264;

text::Tokenizer tokenizer_with(std::initializer_list<std::string_view> control_tokens) {
  nlohmann::json json = text::tiny_tokenizer();
  TokenId id = kEnd;
  for (const std::string_view token : control_tokens)
    json["added_tokens"].push_back(
        {{"id", id++}, {"content", token}, {"special", true}, {"normalized", false}});
  return text::Tokenizer::parse(json.dump()).value();
}

text::Tokenizer tokenizer_with_end() { return tokenizer_with({text::kEndOfSentence}); }

/// For FakeModel: `answer` follows a prompt of that many tokens.
std::vector<TokenId> tokens_by_position(const text::Tokenizer& tokenizer, size_t prompt_tokens,
                                        std::string_view answer) {
  std::vector<TokenId> all(prompt_tokens - 1, 0);
  const std::vector<TokenId> ids = tokenizer.encode(answer).value();
  all.insert(all.end(), ids.begin(), ids.end());
  return all;
}

size_t prompt_length(const text::Tokenizer& tokenizer, std::vector<text::Message> messages,
                     text::ThinkingMode mode) {
  const auto prompt = text::render_prompt(messages, {.mode = mode}).value();
  return tokenizer.encode(prompt.text, {.literal = prompt.literal}).value().size();
}

const std::string kEndText(text::kEndOfSentence);

TEST(ConversationTest, TakesReasoningAndContentApartWhileTheyArrive) {
  const text::Tokenizer tokenizer = tokenizer_with_end();
  const size_t length = prompt_length(tokenizer, {{.role = text::Role::user, .content = "why"}},
                                      text::ThinkingMode::thinking);
  FakeModel model({.context = 400,
                   .always = tokens_by_position(tokenizer, length, "so</think>thus" + kEndText)});
  Generator generator(model, &tokenizer);
  Conversation conversation(generator, tokenizer);
  conversation.chat.mode = text::ThinkingMode::thinking;
  std::string reasoning, content;
  const Reply reply = conversation
                          .ask("why", {.on_part =
                                           [&](const text::Completion& part) {
                                             reasoning += part.reasoning_content;
                                             content += part.content;
                                           },
                                       .on_prompt = {}})
                          .value();
  EXPECT_EQ(reasoning, "so");
  EXPECT_EQ(content, "thus");
  EXPECT_EQ(reply.completion.content, "thus");
  EXPECT_EQ(reply.answer.text, "so</think>thus");
  EXPECT_EQ(reply.answer.finish, FinishReason::end_token);
  ASSERT_EQ(conversation.messages().size(), 2u);
  EXPECT_EQ(conversation.messages()[1].content, "thus");
  EXPECT_EQ(conversation.messages()[1].reasoning_content, "so");
}

TEST(ConversationTest, TheNextTurnIsComputedFromTheEndOfTheLast) {
  const text::Tokenizer tokenizer = tokenizer_with_end();
  const size_t length = prompt_length(tokenizer, {{.role = text::Role::user, .content = "a"}},
                                      text::ThinkingMode::chat);
  // The model writes "ab" as two tokens, the tokenizer would as one.
  std::vector<TokenId> always(length - 1, 0);
  for (const TokenId id : {TokenId{'a'}, TokenId{'b'}, kEnd}) always.push_back(id);
  FakeModel model({.context = 400, .always = always});
  Generator generator(model, &tokenizer);
  Conversation conversation(generator, tokenizer);
  conversation.chat.mode = text::ThinkingMode::chat;
  conversation.request.max_new_tokens = 8;
  ASSERT_EQ(conversation.ask("a").value().answer.text, "ab");
  const Reply second = conversation.ask("b").value();
  EXPECT_EQ(second.answer.stats.reused_tokens, static_cast<int64_t>(length) + 2);
  EXPECT_EQ(conversation.messages().size(), 4u);
  const std::vector<TokenId>& prompt = conversation.request.prompt;
  EXPECT_EQ(prompt[length], 'a');
  EXPECT_EQ(prompt[length + 1], 'b');
  EXPECT_EQ(prompt[length + 2], kEnd);
  conversation.clear();
  EXPECT_TRUE(conversation.messages().empty());
  ASSERT_EQ(conversation.ask("a").value().answer.text, "ab");
}

// Later prompts leave reasoning out: they part from the cached text where it began. A long answer
// lies behind that place by then.
TEST(ConversationTest, TurnsWithReasoningAreComputedFromTheLastQuestion) {
  const text::Tokenizer tokenizer =
      tokenizer_with({text::kEndOfSentence, text::kThinkOpen, text::kThinkClose});
  for (const bool snapshots : {true, false}) {
    FakeModel model({.context = 2000, .snapshots = snapshots});
    Generator generator(model, &tokenizer);
    Conversation conversation(generator, tokenizer);
    conversation.chat.mode = text::ThinkingMode::thinking;
    conversation.request.max_new_tokens = 60;
    int64_t last_prompt = 0;
    for (int turn = 1; turn <= 4; ++turn) {
      const Answer answer = conversation.ask(std::string(100, 'a')).value().answer;
      if (turn > 1) EXPECT_EQ(answer.stats.reused_tokens, snapshots ? last_prompt - 1 : 0) << turn;
      last_prompt = answer.stats.prompt_tokens;
      // The same prompt from scratch gives the same answer.
      FakeModel other({.context = 2000});
      Generator anew(other, &tokenizer);
      const Request request = conversation.request;
      EXPECT_EQ(anew.generate({&request, 1}).value()[0].ids, answer.ids) << turn;
    }
  }
}

TEST(ConversationTest, ControlTokensThatTheUserTypesStayTextInLaterTurns) {
  const text::Tokenizer tokenizer = tokenizer_with_end();
  FakeModel model({.context = 900});
  Generator generator(model, &tokenizer);
  Conversation conversation(generator, tokenizer);
  conversation.chat.mode = text::ThinkingMode::chat;
  conversation.request.max_new_tokens = 3;
  for (int turn = 1; turn <= 3; ++turn) {
    ASSERT_TRUE(conversation.ask("a" + kEndText).ok());
    const auto& prompt = conversation.request.prompt;
    EXPECT_EQ(std::ranges::count(prompt, kEnd), turn - 1);  // those that end earlier answers
  }
}

TEST(ConversationTest, AnErrorLeavesTheConversationAsItWas) {
  const text::Tokenizer tokenizer = tokenizer_with_end();
  FakeModel model({.context = 120});
  Generator generator(model, &tokenizer);
  Conversation conversation(generator, tokenizer);
  conversation.add({.role = text::Role::system, .content = "be brief"});
  const auto reply = conversation.ask(std::string(200, 'x'));
  ASSERT_FALSE(reply.ok());
  EXPECT_NE(reply.error().message.find("the context holds 120; shorten it or raise --context"),
            std::string::npos)
      << reply.error().message;
  EXPECT_EQ(conversation.messages().size(), 1u);
}

}  // namespace
}  // namespace tessera::engine
