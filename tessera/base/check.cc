// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace tessera::detail {

void check_failed(std::string_view condition, std::source_location where,
                  const std::string& message) {
  fmt::print(stderr, "{}:{}: check failed: {}{}{}\n", where.file_name(), where.line(), condition,
             message.empty() ? "" : ": ", message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace tessera::detail
