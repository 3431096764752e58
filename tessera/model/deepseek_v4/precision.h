// SPDX-License-Identifier: Apache-2.0
// The four ways to run a model (docs/model.md, "Weights stay where they are").
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace tessera::model::deepseek_v4 {

enum class Precision {
  native,  // weights as stored, the official roundings
  fp8,     // experts re-scaled to e4m3, the rest as native
  bf16,    // weights widened exactly, bf16 between operators
  fp32,    // weights widened exactly, nothing rounded
};

inline constexpr std::array<std::string_view, 4> kPrecisionNames = {"native", "fp8", "bf16",
                                                                    "fp32"};

constexpr std::string_view name(Precision precision) {
  return kPrecisionNames[static_cast<size_t>(precision)];
}

constexpr std::optional<Precision> parse_precision(std::string_view text) {
  for (size_t i = 0; i < kPrecisionNames.size(); ++i)
    if (kPrecisionNames[i] == text) return static_cast<Precision>(i);
  return std::nullopt;
}

}  // namespace tessera::model::deepseek_v4
