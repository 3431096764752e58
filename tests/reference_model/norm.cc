// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/norm.h"

#include <cmath>

namespace tessera::reference_model {

void rms_norm(const Numerics& numerics, std::span<const double> weight, double eps, Rows& x) {
  const size_t width = weight.size();
  for (size_t begin = 0; begin < x.values.size(); begin += width) {
    const auto part = std::span(x.values).subspan(begin, width);
    const double inverse = 1 / std::sqrt(dot(part, part) / width + eps);
    for (size_t i = 0; i < width; ++i) part[i] = numerics.bf16(part[i] * inverse * weight[i]);
  }
}

void head_rms_norm(const Numerics& numerics, int64_t head_dim, double eps, Rows& q) {
  for (size_t begin = 0; begin < q.values.size(); begin += head_dim) {
    const auto head = std::span(q.values).subspan(begin, head_dim);
    double sum = 0;
    for (const double value : head) sum += numerics.bf16(value * value);
    const double mean = numerics.bf16(sum / head_dim);
    const double inverse = numerics.bf16(1 / std::sqrt(numerics.bf16(mean + eps)));
    for (double& value : head) value = numerics.bf16(value * inverse);
  }
}

}  // namespace tessera::reference_model
