// SPDX-License-Identifier: Apache-2.0
// Names a mistyped one may have meant.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace tessera::ops {

/// At most three of `names`, nearest first: few edits apart, or one containing the other.
std::vector<std::string_view> near_names(std::string_view name,
                                         std::span<const std::string_view> names);

}  // namespace tessera::ops
