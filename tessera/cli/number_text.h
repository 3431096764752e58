// SPDX-License-Identifier: Apache-2.0
// Numbers of bytes and tokens as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tessera/base/result.h"
#include "tessera/cli/command.h"

namespace tessera::cli {

/// 159609485896 -> "159,609,485,896"
std::string grouped(uint64_t number);

/// "1.5 GiB"
std::string size_text(double bytes);

/// "64GiB", "1.5 TiB", "800MB", "4096" (bytes). Error: invalid_argument.
Result<uint64_t> parse_size(std::string_view text);

/// The whole number that option --`name` gives. Error: invalid_argument when it is none, or
/// below 1.
Result<int64_t> positive_option(const Arguments& arguments, std::string_view name,
                                int64_t fallback);

}  // namespace tessera::cli
