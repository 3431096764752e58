// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace tessera {

/// Begins every line this process logs from now on: "rank 3".
void set_log_prefix(std::string_view prefix);

}  // namespace tessera
