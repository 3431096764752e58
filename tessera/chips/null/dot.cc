// SPDX-License-Identifier: Apache-2.0
// Matrix products, K in order. Products of bf16, e4m3 and e2m1 elements are exact in f32, so only
// the sum rounds.
#include <algorithm>

#include "tessera/chips/null/operations.h"

namespace tessera::chips::null {
namespace {

/// How much of K is summed before the partial sum is added to the accumulator of a scaled dot.
constexpr int64_t kPromotion = 128;

/// [n, k] to [k, n].
template <class T>
std::vector<T> transposed(const std::vector<T>& x, size_t n, size_t k) {
  std::vector<T> out(x.size());
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < k; ++j) out[j * n + i] = x[i * k + j];
  return out;
}

/// sum[n] += a[k] * b[k, n] for k in [begin, end).
template <class T, class Sum>
void add_products(const T* a, const T* b, size_t n, size_t begin, size_t end, Sum* sum) {
  for (size_t k = begin; k < end; ++k)
    for (size_t i = 0; i < n; ++i)
      sum[i] += static_cast<Sum>(a[k]) * static_cast<Sum>(b[k * n + i]);
}

template <class T, class Sum>
void dot(std::vector<T> a, std::vector<T> b, bool kn, const Value& acc, Value& out) {
  const size_t m = static_cast<size_t>(out.shape()[0]), n = static_cast<size_t>(out.shape()[1]),
               k = a.size() / m;
  if (!kn) b = transposed(b, n, k);
  std::ranges::copy(acc.as<Sum>(), out.as<Sum>().begin());
  for (size_t row = 0; row < m; ++row)
    add_products(a.data() + row * k, b.data(), n, 0, k, out.as<Sum>().data() + row * n);
}

/// x [rows, k] times scale [rows or rows / group or 1, k / group].
void apply_scale(std::vector<float>& x, const lang::TileShape& shape, const Value& scale) {
  std::vector<float> factors;
  decode_floats(scale, factors);
  const int64_t rows = shape[0], k = shape[1];
  const int64_t row_group = rows / scale.shape()[0], k_group = k / scale.shape()[1];
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < k; ++j)
      x[static_cast<size_t>(i * k + j)] *=
          factors[static_cast<size_t>(i / row_group * scale.shape()[1] + j / k_group)];
}

}  // namespace

void evaluate_dot(const lang::Node& node, Operands operands, Value& result) {
  const Value &a = *operands[0], &b = *operands[1];
  const bool kn = node.ints[0] != 0;
  if (a.dtype() == DType::i8) {
    // Unsigned sums wrap.
    const auto widened = [](const Value& x) {
      std::vector<uint32_t> out;
      for (int8_t v : x.as<int8_t>()) out.push_back(static_cast<uint32_t>(v));
      return out;
    };
    return dot<uint32_t, uint32_t>(widened(a), widened(b), kn, *operands[2], result);
  }
  std::vector<float> x, y;
  decode_floats(a, x);
  decode_floats(b, y);
  dot<float, float>(std::move(x), std::move(y), kn, *operands[2], result);
}

void evaluate_dot_scaled(const lang::Node& node, Operands operands, Value& result) {
  const Value &a = *operands[0], &b = *operands[1], &acc = *operands[2];
  std::vector<float> x, y;
  decode_floats(a, x);
  decode_floats(b, y);
  size_t next = 3;
  if (node.ints[0] != 0) apply_scale(x, a.shape(), *operands[next++]);
  if (node.ints[1] != 0) apply_scale(y, b.shape(), *operands[next++]);
  const size_t m = static_cast<size_t>(result.shape()[0]),
               n = static_cast<size_t>(result.shape()[1]);
  const size_t k = static_cast<size_t>(a.shape()[1]);
  y = transposed(y, n, k);
  std::ranges::copy(acc.as<float>(), result.as<float>().begin());
  std::vector<float> partial(n);
  for (size_t row = 0; row < m; ++row)
    for (size_t begin = 0; begin < k; begin += kPromotion) {
      std::ranges::fill(partial, 0.0f);
      add_products(x.data() + row * k, y.data(), n, begin, std::min(k, begin + kPromotion),
                   partial.data());
      for (size_t i = 0; i < n; ++i) result.as<float>()[row * n + i] += partial[i];
    }
}

}  // namespace tessera::chips::null
