// SPDX-License-Identifier: Apache-2.0
// What the references and test inputs of the matrix products share: operands decoded to double, and
// the product in plain loops. Nothing here is used by a plan.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops::gemm {

/// Every element, row-major.
inline std::vector<double> decoded(const HostTensor& x) {
  std::vector<double> values(static_cast<size_t>(x.numel()));
  for (int64_t i = 0; i < x.numel(); ++i) values[static_cast<size_t>(i)] = x.flat(i);
  return values;
}

/// x [.., R, K] times its scales s [.., ceil(R / row_group), ceil(K / k_group)]; row_group 1: a
/// scale a row.
inline std::vector<double> decoded(const HostTensor& x, const HostTensor& s, int64_t row_group,
                                   int64_t k_group) {
  std::vector<double> values = decoded(x);
  const int rank = x.desc().shape.rank();
  const int64_t rows = x.extent(rank - 2), k = x.extent(rank - 1);
  const int64_t scale_rows = s.extent(rank - 2), scale_k = s.extent(rank - 1);
  for (int64_t i = 0; i < x.numel(); ++i) {
    const int64_t matrix = i / (rows * k), row = i / k % rows, column = i % k;
    const int64_t scale = (matrix * scale_rows + row / row_group) * scale_k + column / k_group;
    values[static_cast<size_t>(i)] *= s.flat(scale);
  }
  return values;
}

/// The tensor of this name, times its scales ("a_scale" of "a") if it has them.
inline std::vector<double> decoded(const Reference& r, const std::string& name, int64_t row_group,
                                   int64_t k_group) {
  if (!r.has(name + "_scale")) return decoded(r.in(name));
  return decoded(r.in(name), r.in(name + "_scale"), row_group, k_group);
}

/// sum over k of a[k] w[k], and of |a[k] w[k]|.
struct DotSum {
  double value = 0, magnitude = 0;
};
inline DotSum dot_sum(const double* a, const double* w, int64_t k) {
  DotSum sum;
  for (int64_t i = 0; i < k; ++i) {
    const double product = a[i] * w[i];
    sum.value += product;
    sum.magnitude += std::abs(product);
  }
  return sum;
}

/// f32 accumulation of exact products: K / 16 sequential roundings in each lane, and a tree over
/// the lanes. With f32 activations every product rounds as well. `e4m3`: instructions for e4m3 may
/// keep partial sums below f32 (docs/numerics.md).
inline Tolerance dot_tolerance(int64_t k, DType activations = DType::bf16, bool e4m3 = false) {
  if (e4m3) return {.scaled = 0x1p-11};
  const double roundings = activations == DType::f32 ? 2 : 1;
  return {.scaled = roundings * (static_cast<double>(k) / 16 + 16) * 0x1p-24};
}

/// Scales near each other, so that no block is lost beside the others; nothing where a tensor is
/// absent.
inline void fill_scales(Inputs& in, std::string_view name) {
  if (!in.problem().has(name)) return;
  HostTensor& s = in.tensor(name);
  for (int64_t i = 0; i < s.numel(); ++i)
    s.set_flat(i, std::ldexp(1.0, static_cast<int>(in.integer(-3, 1))));
}

/// Least time: everything read once, y written once.
inline Cost product_cost(const Problem& p, std::initializer_list<const char*> read,
                         const char* written, double flops) {
  Cost cost{.flops = flops};
  for (const char* name : read)
    if (p.has(name)) cost.bytes_read += static_cast<double>(p.tensor(name).bytes());
  cost.bytes_written = static_cast<double>(p.tensor(written).bytes());
  return cost;
}

}  // namespace tessera::ops::gemm
