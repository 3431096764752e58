// SPDX-License-Identifier: Apache-2.0
// UTF-8 as byte strings: validation, and the replacement of what is not UTF-8. One U+FFFD stands
// for each maximal subpart of an ill-formed sequence (Unicode 15, section 3.9), as Python's and
// Rust's lossy decoders do it, so that bad bytes give the tokens they give there.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tessera::text {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

enum class Utf8Kind { valid, ill_formed, incomplete };

struct Utf8Step {
  Utf8Kind kind;
  size_t length;  // bytes, 1..4
};

/// What `text` (not empty) begins with: a character; the maximal subpart of an ill-formed sequence;
/// or all of `text`, when it is the beginning of a character whose other bytes are not there.
Utf8Step next_utf8(std::string_view text);

bool is_utf8(std::string_view text);

std::string replace_invalid_utf8(std::string_view text);

/// Appends `code_point` (at most 0x10FFFF, no surrogate).
void append_utf8(char32_t code_point, std::string& text);

/// The code point of a valid character as next_utf8() delimits it.
char32_t decode_utf8(std::string_view character);

}  // namespace tessera::text
