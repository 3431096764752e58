// SPDX-License-Identifier: Apache-2.0
// The alphabet in which byte-level vocabularies spell arbitrary bytes as printable characters: the
// printable bytes of Latin-1 stand for themselves, the other 68 are U+0100..U+0143 in order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tessera::text {

/// The bytes that `spelling` stands for; nullopt when a character is not of the alphabet (as in
/// most control tokens) or `spelling` is not UTF-8.
std::optional<std::string> bytes_of_spelling(std::string_view spelling);

/// The inverse.
std::string spelling_of_bytes(std::string_view bytes);

}  // namespace tessera::text
