// SPDX-License-Identifier: Apache-2.0
// Learns a small byte-level BPE tokenizer of the kind DeepSeek ships from some texts.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::tiny_model {

/// The contents of a tokenizer.json with `size` ids: begin and end of sentence and padding (0, 1,
/// 2), the bytes, merges, and at the end the control tokens of the chat encoding. Error
/// (invalid_argument): a size that does not hold bytes and control tokens, or texts that do not
/// give that many merges.
Result<nlohmann::ordered_json> train_tokenizer(std::span<const std::string> texts, size_t size);

}  // namespace tessera::tiny_model
