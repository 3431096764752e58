// SPDX-License-Identifier: Apache-2.0
// What measuring found better for single operators than a chip's own numbers. Hints steer sizes,
// never results: a kernel is right under any of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/runtime/capabilities.h"

namespace tessera::runtime {

/// Numbers of Capabilities by name: "gemv_rows", "dot_tile.8.n" (for at most 8 rows; "more" has the
/// tile of the largest products).
using Hints = std::map<std::string, int64_t, std::less<>>;

/// All numbers that may be tuned.
Hints hints_of(const Capabilities& capabilities);

/// Capabilities with these numbers in place of their own. Errors (invalid_argument): a name that is
/// no hint, a number out of its range or not a power of two.
Result<Capabilities> with_hints(Capabilities capabilities, const Hints& hints);

/// Capabilities that differ in one number, twice as large or half.
std::vector<Capabilities> neighbours(const Capabilities& capabilities);

/// Hints in which `b` differs from `a`, with the values of `b`.
Hints difference(const Capabilities& a, const Capabilities& b);

/// Hints by what they are for: operator and specialisation (ops/frame/specialisation.h).
class Tuning {
 public:
  /// The same errors as with_hints(); replaces earlier hints for `key`.
  Result<void> set(std::string key, Hints hints);
  /// `capabilities` with the hints for `key`, where there are any.
  Capabilities apply(std::string_view key, const Capabilities& capabilities) const;
  bool empty() const { return hints_.empty(); }
  const std::map<std::string, Hints, std::less<>>& all() const { return hints_; }

 private:
  std::map<std::string, Hints, std::less<>> hints_;
};

}  // namespace tessera::runtime
