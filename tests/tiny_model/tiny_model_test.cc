// SPDX-License-Identifier: Apache-2.0
// What lies in models/tiny. What the model answers is measured by `tessera eval`.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <span>

#include "tessera/engine/evaluation/suite.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/text/chat_texts.h"
#include "tessera/text/tokenizer.h"

namespace tessera::tiny_model {
namespace {

namespace fs = std::filesystem;
const fs::path kFolder = TESSERA_TINY_MODEL;

TEST(TinyModelTest, IsSmall) {
  uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(kFolder)) bytes += entry.file_size();
  EXPECT_LE(bytes, 8'000'000u);
}

TEST(TinyModelTest, HasEveryKindOfLayer) {
  const auto config = model::deepseek_v4::load_config(kFolder).value();
  std::map<int, int> ratios;
  std::map<bool, int> hashed;
  for (const auto& layer : config.layers) {
    ++ratios[layer.ratio];
    ++hashed[layer.hash_routed];
  }
  EXPECT_EQ(ratios.size(), 3u);
  EXPECT_EQ(hashed.size(), 2u);
  EXPECT_EQ(config.draft_layers, 1);
  EXPECT_EQ(config.expert_dtype, DType::f4e2m1);
  // What lies further back than this is found by the indexer alone.
  EXPECT_LE(config.window, 128);
  EXPECT_LE(config.index_top_k * 4, 2048);
}

TEST(TinyModelTest, ItsTokenizerTakesAnyText) {
  const auto tokenizer = text::Tokenizer::load(kFolder / "tokenizer.json").value();
  const auto config = model::deepseek_v4::load_config(kFolder).value();
  EXPECT_EQ(static_cast<int64_t>(tokenizer.size()), config.vocab_size);
  for (const std::string text : {"One source, every chip.", "int main() {\n\treturn 42;\n}\n",
                                 "人工智能 🙂 naïve", "\xFF"}) {
    const auto ids = tokenizer.encode(text).value();
    EXPECT_EQ(tokenizer.decode(ids), text == "\xFF" ? "\uFFFD" : text);
  }
  for (const std::string_view token :
       {text::kBeginOfSentence, text::kEndOfSentence, text::kUserToken, text::kAssistantToken,
        text::kThinkOpen, text::kThinkClose, text::kDsml, text::kLatestReminderToken})
    EXPECT_TRUE(tokenizer.control_token(token)) << token;
  EXPECT_EQ(tokenizer.control_token(text::kEndOfSentence), config.eos_tokens.at(0));
}

TEST(TinyModelTest, DigitsAndTheLettersOfQuotedWordsStandAlone) {
  const auto tokenizer = text::Tokenizer::load(kFolder / "tokenizer.json").value();
  EXPECT_EQ(tokenizer.encode("12345").value().size(), 5u);
  EXPECT_EQ(tokenizer.encode("\"planet\"").value().size(), 8u);
  EXPECT_EQ(tokenizer.encode(" question").value().size(), 1u);
}

std::vector<engine::Question> suite(const std::string& name) {
  std::ifstream file(kFolder.parent_path() / "suites" / (name + ".jsonl"));
  const std::string lines{std::istreambuf_iterator<char>(file), {}};
  return engine::parse_suite(lines, name).value();
}

std::map<std::string, int> cases_by_task(std::span<const engine::Question> questions) {
  std::map<std::string, int> cases;
  for (const auto& question : questions) ++cases[question.task];
  return cases;
}

TEST(TinyModelTest, ItsSuiteHasEnoughCasesOfEachTask) {
  const auto cases = cases_by_task(suite("tiny"));
  EXPECT_EQ(cases.size(), 8u);
  for (const auto& [task, count] : cases) EXPECT_GE(count, 500) << task;
}

TEST(TinyModelTest, WordsToRecallStandInTextsOfTheNamedLength) {
  const auto tokenizer = text::Tokenizer::load(kFolder / "tokenizer.json").value();
  const auto questions = suite("recall");
  const auto cases = cases_by_task(questions);
  EXPECT_EQ(cases.size(), 4u);
  for (const auto& [task, count] : cases) EXPECT_GE(count, 500) << task;
  for (const auto& question : engine::first_of_each_task(questions, 3)) {
    const std::string& text = question.messages.back().content;
    const double tokens = double(tokenizer.encode(text).value().size());
    const double named = std::stod(question.task.substr(std::string("recall-").size()));
    EXPECT_GT(tokens, 0.85 * named);
    EXPECT_LT(tokens, 1.15 * named);
    EXPECT_NE(text.find(question.answer), std::string::npos);
  }
}

}  // namespace
}  // namespace tessera::tiny_model
