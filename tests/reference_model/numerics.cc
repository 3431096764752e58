// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/numerics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "tessera/base/float_formats.h"

namespace tessera::reference_model {
namespace {

float largest_magnitude(std::span<const double> values, float floor) {
  double largest = floor;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return static_cast<float>(largest);
}

}  // namespace

double Numerics::bf16(double value) const {
  return native_ ? decode_bf16(encode_bf16(value)) : value;
}

void Numerics::bf16(std::span<double> values) const {
  if (!native_) return;
  for (double& value : values) value = bf16(value);
}

void Numerics::simulate_fp8(std::span<double> values, int64_t block) const {
  if (!native_) return;
  for (size_t begin = 0; begin < values.size(); begin += block) {
    const auto part = values.subspan(begin, std::min<size_t>(block, values.size() - begin));
    const double scale = pow2_scale(largest_magnitude(part, 1e-4f), DType::f8e4m3);
    for (double& value : part) value = decode_e4m3(encode_e4m3(value / scale)) * scale;
  }
}

void Numerics::simulate_fp4(std::span<double> values) const {
  if (!native_) return;
  const float floor = 6 * std::ldexp(1.0f, -126);
  for (size_t begin = 0; begin < values.size(); begin += 32) {
    const auto part = values.subspan(begin, 32);
    const double scale = pow2_scale(largest_magnitude(part, floor), DType::f4e2m1);
    for (double& value : part) value = decode_e2m1(encode_e2m1(value / scale)) * scale;
  }
}

void Numerics::hadamard(std::span<double> values) const {
  if (!native_) return;
  const size_t count = values.size();
  TESSERA_CHECK(std::has_single_bit(count), "Hadamard transform of {} values", count);
  for (size_t half = 1; half < count; half *= 2)
    for (size_t i = 0; i < count; ++i) {
      if (i & half) continue;
      const double a = values[i], b = values[i + half];
      values[i] = a + b;
      values[i + half] = a - b;
    }
  for (double& value : values) value = bf16(value / std::sqrt(static_cast<double>(count)));
}

Rows Numerics::linear(const Matrix& weight, const Rows& x) const {
  if (!native_) return product(weight, x);
  Rows input = x;
  if (weight.quantised())
    for (int64_t t = 0; t < input.rows; ++t) simulate_fp8(input[t], 128);
  Rows y = product(weight, input);
  bf16(y);
  return y;
}

double dot(std::span<const double> a, std::span<const double> b) {
  // Eight sums, since one alone would wait for every addition.
  double sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= a.size(); i += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  double rest = 0;
  for (; i < a.size(); ++i) rest += a[i] * b[i];
  for (const double sum : sums) rest += sum;
  return rest;
}

Rows product(const Matrix& weight, const Rows& x) { return grouped_product(weight, x, 1); }

Rows grouped_product(const Matrix& weight, const Rows& x, int64_t groups) {
  TESSERA_CHECK(x.cols == weight.cols() * groups, "{} columns for {} of a weight", x.cols,
                weight.cols());
  Rows y(x.rows, weight.rows());
  std::vector<double> row(weight.cols());
  for (int64_t n = 0; n < weight.rows(); ++n) {
    const int64_t group = n / (weight.rows() / groups);
    weight.decode_row(n, row);
    for (int64_t t = 0; t < x.rows; ++t)
      y[t][n] = dot(x[t].subspan(group * weight.cols(), weight.cols()), row);
  }
  return y;
}

}  // namespace tessera::reference_model
