// SPDX-License-Identifier: Apache-2.0
// What `tessera verify` prints.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tessera/model/deepseek_v4/verification/verification.h"

namespace tessera::cli {

/// Tables of vectors and layers, then a line for each limit.
std::string verification_text(const model::deepseek_v4::Verification& verification);

nlohmann::json verification_json(const model::deepseek_v4::Verification& verification);

}  // namespace tessera::cli
