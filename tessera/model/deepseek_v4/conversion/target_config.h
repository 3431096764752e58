// SPDX-License-Identifier: Apache-2.0
// The config.json of a converted checkpoint: the source's text with what changes, so that fields
// this program does not know stay.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tessera/base/result.h"

namespace tessera::model::deepseek_v4 {

/// What a conversion makes of the weights.
enum class WeightForm : uint8_t {
  native,  // as the source has them
  bf16,    // all FP4 and FP8
  fp8,     // experts in FP4
  int8,    // experts
};
std::string_view name(WeightForm form);
std::optional<WeightForm> parse_weight_form(std::string_view text);

/// Layers [first, last] of a trunk, from 0.
struct LayerRange {
  int64_t first = 0, last = 0;
  int64_t count() const { return last - first + 1; }
};
/// "3-7", "3". Error: invalid_argument.
Result<LayerRange> parse_layer_range(std::string_view text);

/// Any dialect that parse_config reads. With `layers` the model has these alone, numbered from 0,
/// and no draft layers: they belong to the whole trunk. Errors: corrupt (no JSON object);
/// invalid_argument for layers that are not there.
Result<std::string> converted_config(std::string_view json, WeightForm form,
                                     std::optional<LayerRange> layers);

}  // namespace tessera::model::deepseek_v4
