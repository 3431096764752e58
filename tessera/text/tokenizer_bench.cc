// SPDX-License-Identifier: Apache-2.0
// Speed of encoding and decoding on one thread. There is no cache of words, so every run is a cold
// one. Texts: each file of the folder TESSERA_BENCH_TEXTS, and what the reference data has.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/text/tokenizer.h"

namespace tessera::text {
namespace {

namespace fs = std::filesystem;

fs::path reference_folder() {
  const char* folder = std::getenv("TESSERA_REFERENCE_DIR");
  return folder ? fs::path(folder) : fs::path(TESSERA_SOURCE_FOLDER) / "../shared/reference";
}

/// All C++ of this repository's layers, as one text.
std::string own_sources() {
  std::string text;
  for (const auto& entry :
       fs::recursive_directory_iterator(fs::path(TESSERA_SOURCE_FOLDER) / "tessera"))
    if (entry.path().extension() == ".cc" || entry.path().extension() == ".h")
      text += read_file(entry.path());
  return text;
}

void encode(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text) {
  size_t tokens = 0;
  for (auto _ : state) tokens = tokenizer.encode(text).value().size();
  state.SetBytesProcessed(static_cast<int64_t>(text.size() * state.iterations()));
  state.counters["bytes_per_token"] =
      static_cast<double>(text.size()) / static_cast<double>(tokens);
}

void decode(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text) {
  const auto ids = tokenizer.encode(text).value();
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.decode(ids));
  state.SetBytesProcessed(static_cast<int64_t>(text.size() * state.iterations()));
}

void load(benchmark::State& state, const fs::path& path) {
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::load(path));
}

/// Registers everything before main() runs; without the reference data nothing is registered.
const bool registered = [] {
  const fs::path path = reference_folder() / "tokenizer/tokenizer.json";
  if (!fs::exists(path)) return false;
  static const Tokenizer tokenizer = Tokenizer::load(path).value();
  static std::vector<std::pair<std::string, std::string>> texts;
  texts.emplace_back("tinyshakespeare", read_file(reference_folder() / "eval/tinyshakespeare.txt"));
  texts.emplace_back("own_sources", own_sources());
  if (const char* folder = std::getenv("TESSERA_BENCH_TEXTS"))
    for (const auto& entry : fs::directory_iterator(folder))
      texts.emplace_back(entry.path().filename(), read_file(entry.path()));
  for (const auto& [name, text] : texts) {
    benchmark::RegisterBenchmark(("encode/" + name).c_str(), encode, std::cref(tokenizer),
                                 std::cref(text))
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("decode/" + name).c_str(), decode, std::cref(tokenizer),
                                 std::cref(text))
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RegisterBenchmark("load", load, path)->Unit(benchmark::kMillisecond);
  return true;
}();

}  // namespace
}  // namespace tessera::text
