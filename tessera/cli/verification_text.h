// SPDX-License-Identifier: Apache-2.0
// What `tessera verify` prints.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tessera/model/deepseek_v4/verification/against.h"
#include "tessera/model/deepseek_v4/verification/verification.h"

namespace tessera::cli {

/// Tables of vectors and layers, then a line for each limit.
std::string verification_text(const model::deepseek_v4::Verification& verification);

/// The operators of the first part that departs, or the farthest output of each operator.
std::string difference_text(const model::deepseek_v4::AgainstReference& against);
nlohmann::json difference_json(const model::deepseek_v4::AgainstReference& against);

nlohmann::json verification_json(const model::deepseek_v4::Verification& verification);

}  // namespace tessera::cli
