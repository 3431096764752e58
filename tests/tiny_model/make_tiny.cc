// SPDX-License-Identifier: Apache-2.0
// Makes models/tiny: make-tiny FOLDER [TEXT-FILE...]
// Weights are random, from a fixed seed. With text files the tokenizer is learned from them anew.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tessera/base/mapped_file.h"
#include "tests/reference_model/random_checkpoint.h"
#include "tests/tiny_model/tiny_config.h"
#include "tests/tiny_model/tokenizer_trainer.h"

namespace tessera::tiny_model {
namespace {

Result<> make(const std::filesystem::path& folder, std::span<char*> files) {
  const nlohmann::json config = tiny_config();
  std::filesystem::create_directories(folder);
  TESSERA_TRY(reference_model::write_random_checkpoint(config, folder, kSeed));
  if (files.empty()) return {};
  std::vector<std::string> texts;
  for (const char* name : files) {
    std::ifstream file(name, std::ios::binary);
    if (!file) return io_error(fmt::format("\"{}\" cannot be read", name));
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  TESSERA_ASSIGN(const auto tokenizer,
                 train_tokenizer(texts, config.at("vocab_size").get<size_t>()));
  return write_file_atomic(folder / "tokenizer.json", tokenizer.dump(1));
}

}  // namespace
}  // namespace tessera::tiny_model

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: make-tiny FOLDER [TEXT-FILE...]\n");
    return 2;
  }
  const std::span<char*> arguments(argv, static_cast<size_t>(argc));
  const auto made = tessera::tiny_model::make(arguments[1], arguments.subspan(2));
  if (!made.ok()) fmt::print(stderr, "make-tiny: {}\n", made.error().to_string());
  return made.ok() ? 0 : 1;
}
