// SPDX-License-Identifier: Apache-2.0
// A stretch of a longer text, in bytes.
#pragma once

#include <cstddef>

namespace tessera::text {

struct TextRange {
  size_t begin = 0, end = 0;  // end is one past the last byte

  bool operator==(const TextRange&) const = default;
};

}  // namespace tessera::text
