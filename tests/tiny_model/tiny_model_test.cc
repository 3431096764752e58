// SPDX-License-Identifier: Apache-2.0
// What lies in models/tiny, and how it is made.
#include <gtest/gtest.h>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/text/chat_texts.h"
#include "tessera/text/tokenizer.h"
#include "tests/reference_model/random_checkpoint.h"
#include "tests/tiny_model/tiny_config.h"
#include "tests/tiny_model/tokenizer_trainer.h"

namespace tessera::tiny_model {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(TinyModelTest, IsWhatTheProgramMakes) {
  const TemporaryFolder made;
  ASSERT_TRUE(reference_model::write_random_checkpoint(tiny_config(), made.path(), kSeed).ok());
  int files = 0;
  for (const auto& entry : fs::directory_iterator(made.path())) {
    const fs::path name = entry.path().filename();
    EXPECT_TRUE(read(entry.path()) == read(TESSERA_TINY_MODEL / name)) << name;
    ++files;
  }
  EXPECT_EQ(files, 9);  // config, index, embedding, four layers, head, draft block
}

TEST(TinyModelTest, IsSmall) {
  uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(TESSERA_TINY_MODEL)) bytes += entry.file_size();
  EXPECT_LE(bytes, 8'000'000u);
}

TEST(TinyModelTest, ItsTokenizerTakesAnyText) {
  const auto tokenizer =
      text::Tokenizer::load(fs::path(TESSERA_TINY_MODEL) / "tokenizer.json").value();
  EXPECT_EQ(tokenizer.size(), tiny_config()["vocab_size"]);
  for (const std::string text : {"One source, every chip.", "int main() {\n\treturn 42;\n}\n",
                                 "人工智能 🙂 naïve", "\xFF"}) {
    const auto ids = tokenizer.encode(text).value();
    EXPECT_EQ(tokenizer.decode(ids), text == "\xFF" ? "\uFFFD" : text);
  }
  const std::string words = "The kernel cache of the device";
  EXPECT_LT(tokenizer.encode(words).value().size(), words.size() / 2);
  for (const std::string_view token :
       {text::kBeginOfSentence, text::kEndOfSentence, text::kUserToken, text::kAssistantToken,
        text::kThinkOpen, text::kThinkClose, text::kDsml, text::kLatestReminderToken})
    EXPECT_TRUE(tokenizer.control_token(token)) << token;
  EXPECT_EQ(tokenizer.control_token(text::kEndOfSentence), tiny_config()["eos_token_id"]);
}

TEST(TokenizerTrainerTest, JoinsTheMostFrequentPairsFirst) {
  const std::vector<std::string> texts = {"low lower lowest low", "newer newest"};
  const auto json = train_tokenizer(texts, 275).value();
  EXPECT_EQ(json["model"]["merges"], (nlohmann::ordered_json{"l o", "lo w", "Ġ low", "Ġlow e"}));
  const auto tokenizer = text::Tokenizer::parse(json.dump()).value();
  EXPECT_EQ(tokenizer.encode("low low").value(), (std::vector<text::TokenId>{260, 261}));
}

TEST(TokenizerTrainerTest, WrongSizesAreNamed) {
  const std::vector<std::string> texts = {"ab ab"};
  EXPECT_EQ(train_tokenizer(texts, 100).error().message,
            "100 tokens hold no tokenizer, 271 are needed");
  EXPECT_EQ(train_tokenizer(texts, 300).error().message, "the texts give 1 merges, 29 are wanted");
}

}  // namespace
}  // namespace tessera::tiny_model
