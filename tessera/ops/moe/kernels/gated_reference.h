// SPDX-License-Identifier: Apache-2.0
// What the references and inputs of operators with gate and up share.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <string>

#include "tessera/ops/gemm/kernels/plain_product.h"

namespace tessera::ops::moe {

inline constexpr std::array<const char*, 2> kGateUp = {"w1", "w3"};
inline constexpr const char* kClamped = "clamped";

/// What tolerance() of silu(gate) up is relative to. `rounded`: gate and up are bf16, and either
/// may be the neighbour of what is expected.
inline double gated_magnitude(double gate, double up, const gemm::DotSum& gate_sum,
                              const gemm::DotSum& up_sum, bool rounded) {
  if (rounded) return 2 * std::abs(gate * up);
  return gate_sum.magnitude * std::abs(up) + std::abs(gate) * up_sum.magnitude;
}

/// Sums of f32 over `k` elements and what rounds behind them, or steps of bf16, at most 2^-7 of a
/// number. silu is no steeper than 1.1. `e4m3`: sums by instructions for e4m3, if x is.
inline Tolerance gated_tolerance(const Problem& p, int64_t k, bool e4m3 = false) {
  if (p.dtype("y") == DType::bf16) return {.scaled = 1.1 * 0x1p-7};
  const bool narrow = e4m3 && p.dtype("x") == DType::f8e4m3;
  return {.relative = 4e-6, .scaled = 1.2 * gemm::dot_tolerance(k, p.dtype("x"), narrow).scaled};
}

/// Scales of w1 and w3 that make gate and up of order 1; with the note "clamped" of order 16.
inline void fill_gated_scales(Inputs& in, int64_t k) {
  const int shift = in.test_case().note == kClamped ? 4 : 0;
  const int down = std::bit_width(static_cast<uint64_t>(k)) / 2;
  for (const std::string w : kGateUp) {
    HostTensor& s = in.tensor(w + "_scale");
    for (int64_t i = 0; i < s.numel(); ++i)
      s.set_flat(i, std::ldexp(1.0, shift - down + static_cast<int>(in.integer(-1, 1))));
  }
}

}  // namespace tessera::ops::moe
