// SPDX-License-Identifier: Apache-2.0
// Hostile tokenizer.json, and hostile text for a good one.
#include "tessera/base/check.h"
#include "tessera/base/testing/fuzz_target.h"
#include "tessera/text/detokenizer.h"
#include "tessera/text/tiny_tokenizer.h"
#include "tessera/text/tokenizer.h"
#include "tessera/text/utf8.h"

namespace tessera::text {
namespace {

/// The first byte 0 marks a text; everything else is a file.
void try_file(std::string_view json) {
  const auto tokenizer = Tokenizer::parse(json);
  if (!tokenizer.ok()) return;
  const std::string text = "abcd  abc<s>1 中\n<tag>x";
  const auto ids = tokenizer->encode(text);
  if (ids.ok()) TESSERA_CHECK(is_utf8(tokenizer->decode(*ids)));
}

void try_text(std::string_view text) {
  static const Tokenizer tokenizer = Tokenizer::parse(tiny_tokenizer_json()).value();
  const std::vector<TextRange> literal = {{text.size() / 4, text.size() / 2}};
  for (const EncodeOptions& options : {EncodeOptions{}, EncodeOptions{.control_tokens = false},
                                       EncodeOptions{.literal = literal}}) {
    const auto ids = tokenizer.encode(text, options).value();
    Detokenizer detokenizer(tokenizer);
    std::string streamed;
    for (const TokenId id : ids) {
      streamed += detokenizer.push(id);
      TESSERA_CHECK(is_utf8(streamed));
    }
    streamed += detokenizer.finish();
    if (options.literal.empty()) TESSERA_CHECK(streamed == replace_invalid_utf8(text));
    TESSERA_CHECK(streamed == tokenizer.decode(ids));
  }
}

}  // namespace
}  // namespace tessera::text

std::vector<std::string> fuzz_seeds() {
  using tessera::text::tiny_tokenizer;
  std::vector<std::string> seeds = {tessera::text::tiny_tokenizer_json()};
  auto small = tiny_tokenizer();  // most changes hit the parts that matter
  small["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 2}};
  seeds.push_back(small.dump());
  small["model"].erase("vocab");
  seeds.push_back(small["pre_tokenizer"].dump());
  for (const char* text : {"abcd <s> ab<tag>", "中文 \xE4\xB8 \xFF\xF0\x9F\x98\x80", "a  b\n\n c"})
    seeds.push_back(std::string(1, '\0') + text);
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (!input.empty() && input[0] == '\0') {
    tessera::text::try_text(input.substr(1));
  } else {
    tessera::text::try_file(input);
  }
  return 0;
}
