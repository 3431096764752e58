// SPDX-License-Identifier: Apache-2.0
// The chat encoding and the completion parser against DeepSeek's encoder, and the number of prompt
// tokens against DeepSeek's service.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tessera/base/testing/reference_data.h"
#include "tessera/text/chat_encoding.h"
#include "tessera/text/completion_parser.h"
#include "tessera/text/message_json.h"
#include "tessera/text/tokenizer.h"

namespace tessera::text {
namespace {

using Json = nlohmann::ordered_json;

Result<RenderedPrompt> render_case(const Json& test, ChatVersion version) {
  const Json& args = test["args"];
  ChatOptions options{.version = version};
  options.mode = find_thinking_mode(args["thinking_mode"].get<std::string>()).value();
  if (args.contains("reasoning_effort"))
    options.effort = find_reasoning_effort(args["reasoning_effort"].get<std::string>()).value();
  options.drop_thinking = args.value("drop_thinking", true);
  options.begin_of_sentence = args.value("add_default_bos_token", true);
  std::vector<Message> context;
  if (args.contains("context")) context = parse_messages(args["context"].dump()).value();
  options.context = context;
  const auto messages = parse_messages(test["messages"].dump());
  if (!messages.ok()) return Error(messages.error());
  return render_prompt(*messages, options);
}

void check_cases(const std::string& file, ChatVersion version, size_t at_least) {
  const Json cases = Json::parse(read_reference(file));
  for (const Json& test : cases) {
    const auto prompt = render_case(test, version);
    if (test.contains("error")) {
      EXPECT_FALSE(prompt.ok()) << test["name"];
    } else {
      ASSERT_TRUE(prompt.ok()) << test["name"] << prompt.error().to_string();
      EXPECT_EQ(prompt->text, test["expected"].get<std::string>()) << test["name"];
    }
  }
  EXPECT_GE(cases.size(), at_least);
}

TEST(ChatReferenceTest, GeneratedCases) {
  TESSERA_SKIP_WITHOUT_REFERENCE("encoding/generated/encode.json");
  check_cases("encoding/generated/encode.json", ChatVersion::v4, 88);
}

TEST(ChatReferenceTest, EffortsOf0731) {
  TESSERA_SKIP_WITHOUT_REFERENCE("encoding/generated/encode-0731-effort.json");
  check_cases("encoding/generated/encode-0731-effort.json", ChatVersion::v4_0731, 14);
}

TEST(ChatReferenceTest, OfficialCases) {
  TESSERA_SKIP_WITHOUT_REFERENCE("encoding/official/test_input_1.json");
  for (int i = 1; i <= 4; ++i) {
    const std::string stem = "encoding/official/test_";
    const auto messages = parse_messages(read_reference(stem + fmt::format("input_{}.json", i)));
    ASSERT_TRUE(messages.ok()) << messages.error().to_string();
    const ChatOptions options{.mode = i == 4 ? ThinkingMode::chat : ThinkingMode::thinking};
    EXPECT_EQ(render_prompt(*messages, options).value().text,
              read_reference(stem + fmt::format("output_{}.txt", i)));
  }
}

TEST(ChatReferenceTest, PromptTokensOfTheService) {
  TESSERA_SKIP_WITHOUT_REFERENCE("api-vectors/manifest.json");
  TESSERA_SKIP_WITHOUT_REFERENCE("tokenizer/tokenizer.json");
  const Tokenizer tokenizer =
      Tokenizer::load(reference_folder() / "tokenizer/tokenizer.json").value();
  int count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(reference_folder() / "api-vectors")) {
    if (!entry.path().string().ends_with(".official.json")) continue;
    const Json reply = Json::parse(read_reference(entry.path()));
    const auto messages = parse_messages(reply["request"].dump()).value();
    const bool thinking = reply["request"]["thinking"]["type"] != "disabled";
    const auto prompt =
        render_prompt(messages, {.mode = thinking ? ThinkingMode::thinking : ThinkingMode::chat})
            .value();
    const auto ids = tokenizer.encode(prompt.text, {.literal = prompt.literal}).value();
    EXPECT_EQ(ids.size(), reply["usage"]["prompt_tokens"].get<size_t>()) << entry.path();
    ++count;
  }
  EXPECT_EQ(count, 5);
}

void expect_equal(const Completion& completion, const Json& expected, const Json& name) {
  EXPECT_EQ(completion.content, expected["content"].get<std::string>()) << name;
  EXPECT_EQ(completion.reasoning_content, expected["reasoning_content"].get<std::string>()) << name;
  ASSERT_EQ(completion.tool_calls.size(), expected["tool_calls"].size()) << name;
  for (size_t i = 0; i < completion.tool_calls.size(); ++i) {
    const Json& function = expected["tool_calls"][i]["function"];
    EXPECT_EQ(completion.tool_calls[i].name, function["name"].get<std::string>()) << name;
    EXPECT_EQ(completion.tool_calls[i].arguments, function["arguments"].get<std::string>()) << name;
  }
}

TEST(ChatReferenceTest, Completions) {
  TESSERA_SKIP_WITHOUT_REFERENCE("encoding/generated/parse.json");
  const Json cases = Json::parse(read_reference("encoding/generated/parse.json"));
  for (const Json& test : cases) {
    const auto text = test["text"].get<std::string>();
    const CompletionOptions options{.starts_in_reasoning = test["thinking_mode"] == "thinking"};
    const auto strict = parse_completion_strictly(text, options);
    if (test.contains("error")) {
      EXPECT_FALSE(strict.ok()) << test["name"];
      continue;
    }
    ASSERT_TRUE(strict.ok()) << test["name"] << strict.error().to_string();
    expect_equal(*strict, test["expected"], test["name"]);
    expect_equal(parse_completion(text, options), test["expected"], test["name"]);
    CompletionParser parser(options);  // byte by byte
    Completion all;
    const auto add = [&](Completion part) {
      all.content += part.content;
      all.reasoning_content += part.reasoning_content;
      for (ToolCall& call : part.tool_calls) all.tool_calls.push_back(std::move(call));
    };
    for (const char c : text) add(parser.push({&c, 1}));
    add(parser.finish());
    expect_equal(all, test["expected"], test["name"]);
  }
  EXPECT_GE(cases.size(), 18u);
}

}  // namespace
}  // namespace tessera::text
