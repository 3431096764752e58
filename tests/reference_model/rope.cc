// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tessera::reference_model {
namespace {

/// The dimension whose wave turns `rotations` times within the original positions.
double dimension_of(double rotations, double dims, double theta, double positions) {
  return dims * std::log(positions / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

}  // namespace

Rope::Rope(const Config& config, bool compresses) {
  const int64_t dims = config.qk_rope_head_dim;
  const double theta = compresses ? config.compress_rope_theta : config.rope_theta;
  const Yarn& yarn = config.yarn;
  const bool stretch = compresses && yarn.original_positions > 0;
  float low = 0, high = 0;
  if (stretch) {
    const double positions = yarn.original_positions;
    low = std::max(std::floor(dimension_of(yarn.beta_fast, dims, theta, positions)), 0.0);
    high = std::min(std::ceil(dimension_of(yarn.beta_slow, dims, theta, positions)), dims - 1.0);
    if (low == high) high += 0.001f;
  }
  for (int64_t i = 0; i < dims / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dims);
    float frequency = 1.0f / static_cast<float>(std::pow(theta, exponent));
    if (stretch) {
      const float keep = 1 - std::clamp((static_cast<float>(i) - low) / (high - low), 0.0f, 1.0f);
      frequency = frequency / static_cast<float>(yarn.factor) * (1 - keep) + frequency * keep;
    }
    frequencies_.push_back(frequency);
  }
}

void Rope::apply(const Numerics& numerics, std::span<double> row, int64_t head_dim,
                 int64_t position, bool inverse) const {
  const int64_t pairs = frequencies_.size();
  for (int64_t i = 0; i < pairs; ++i) {
    const float angle = static_cast<float>(position) * frequencies_[i];
    const double c = std::cos(double{angle}), s = std::sin(double{angle}) * (inverse ? -1 : 1);
    for (size_t end = head_dim; end <= row.size(); end += head_dim) {
      double& even = row[end - 2 * pairs + 2 * i];
      double& odd = row[end - 2 * pairs + 2 * i + 1];
      const double a = even, b = odd;
      even = numerics.bf16(a * c - b * s);
      odd = numerics.bf16(a * s + b * c);
    }
  }
}

}  // namespace tessera::reference_model
