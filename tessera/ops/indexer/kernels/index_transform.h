// SPDX-License-Identifier: Apache-2.0
// What the indexer does to a query or key after rope: Hadamard rotation and FP4 simulation.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tessera/base/float_formats.h"
#include "tessera/ops/quant/fp4_act_quant_simulate.h"
#include "tessera/ops/quant/hadamard.h"

namespace tessera::ops::indexer {

constexpr int64_t kDims = Hadamard::kDims;

/// x [rows, 128] f32; `rounding` is the dtype that the operators apart would store (f32: none).
inline Tile transform(Tile x, DType rounding) {
  constexpr int64_t kBlock = Fp4ActQuantSimulate::kBlock;
  const TileShape shape = x.shape();
  Tile rotated = Hadamard::transform(x);
  if (rounding != DType::f32) rotated = round_to(rotated, rounding);
  return reshape(Fp4ActQuantSimulate::simulate(reshape(rotated, {shape.numel() / kBlock, kBlock})),
                 shape);
}

// ---- the reference, in double ----

inline void round_all(std::span<double> x, DType dtype) {
  if (dtype == DType::bf16)
    for (double& value : x) value = decode_bf16(encode_bf16(value));
}

inline void rotate(std::span<double> x) {
  const std::vector<double> from(x.begin(), x.end());
  for (size_t i = 0; i < from.size(); ++i) {
    x[i] = 0;
    for (size_t j = 0; j < from.size(); ++j) x[i] += std::popcount(i & j) % 2 ? -from[j] : from[j];
    x[i] /= std::sqrt(128.0);
  }
}

/// Rope on the last 64 dimensions, with the angles of a table row.
inline void turn(std::span<double> x, const Reference& r, int64_t row) {
  for (size_t i = 0; i < 32; ++i) {
    const auto pair = static_cast<int64_t>(i);
    const double c = r.in("cos").at({row, pair}), s = r.in("sin").at({row, pair});
    const double a = x[64 + 2 * i], b = x[65 + 2 * i];
    x[64 + 2 * i] = a * c - b * s;
    x[65 + 2 * i] = a * s + b * c;
  }
}

/// e2m1 in blocks of 32, in place.
inline void simulate_fp4(std::span<double> x) {
  for (size_t first = 0; first < x.size(); first += 32) {
    const std::span<double> block = x.subspan(first, 32);
    double amax = 6 * 0x1p-126;
    for (double value : block) amax = std::max(amax, std::abs(value));
    int exponent = -126;
    while (std::ldexp(6, exponent) < amax) ++exponent;
    for (double& value : block) {
      const double codes[] = {0, .5, 1, 1.5, 2, 3, 4, 6};
      const double size = std::ldexp(std::abs(value), -exponent);
      int best = 0;
      for (int c = 1; c < 8; ++c) {
        const double now = std::abs(size - codes[c]), before = std::abs(size - codes[best]);
        if (now < before || (now == before && c % 2 == 0)) best = c;  // a tie: the even code
      }
      value = std::copysign(std::ldexp(codes[best], exponent), value);
    }
  }
}

inline void transform(std::span<double> x, DType rounding) {
  round_all(x, rounding);
  rotate(x);
  round_all(x, rounding);
  simulate_fp4(x);
}

/// Results are equal but for what a rounding that went the other way does: a few elements may have
/// a neighbouring code, or the codes of a neighbouring scale. Without simulation bf16 and f32
/// errors.
inline std::string compare(std::string_view name, const HostTensor& got, const Expected& want,
                           bool simulated) {
  const double half = got.dtype() == DType::bf16 ? 0x1p-8 : 1e-6;
  int64_t off = 0;
  for (int64_t i = 0; i < got.numel(); ++i) {
    const double a = got.flat(i), b = want.value(i), size = std::max(std::abs(a), std::abs(b));
    if (want.is_any(i) || a == b) continue;
    if (!simulated && std::abs(a - b) <= half * size + 1e-5 * want.magnitude(i)) continue;
    if (!simulated || !(std::abs(a - b) <= size) || ++off > 2 + got.numel() / 1000)
      return fmt::format("{}: element {} is {}, expected {} ({} elements off so far)", name, i, a,
                         b, off);
  }
  return {};
}

}  // namespace tessera::ops::indexer
