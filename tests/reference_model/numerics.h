// SPDX-License-Identifier: Apache-2.0
// The two numerics of the reference model, and the linears that depend on them.
//
//   exact   everything in double; every function here leaves its values as they are
//   native  the official rounding points: a value that the official code stores as bf16 is rounded
//           to bf16 here, and quantisation is simulated; sums in between are double
#pragma once

#include <cstdint>
#include <span>

#include "tests/reference_model/rows.h"
#include "tests/reference_model/weight.h"

namespace tessera::reference_model {

enum class Mode { exact, native };

class Numerics {
 public:
  explicit Numerics(Mode mode) : native_(mode == Mode::native) {}

  bool native() const { return native_; }

  double bf16(double value) const;
  void bf16(std::span<double> values) const;
  void bf16(Rows& values) const { bf16(std::span(values.values)); }

  /// E4M3 with one power-of-two scale a block, and back. Blocks of 128 in front of linears, of 64
  /// on the part of a KV row that is not rotated (kernel.py:41).
  void simulate_fp8(std::span<double> values, int64_t block) const;
  /// E2M1 with one power-of-two scale for each 32 values, and back (kernel.py:129).
  void simulate_fp4(std::span<double> values) const;
  /// x H / sqrt(n) in Sylvester's order, rounded once (model.py:247). It changes no dot product
  /// between two rotated vectors, so exact leaves it out.
  void hadamard(std::span<double> values) const;

  /// y = x W^T as the official `linear`: activations in front of FP8 and FP4 weights are quantised
  /// per 128, the result is bf16.
  Rows linear(const Matrix& weight, const Rows& x) const;

 private:
  bool native_;
};

/// y = x W^T with nothing rounded: the official fp32 linears.
Rows product(const Matrix& weight, const Rows& x);

/// x [T, groups * K], W [groups * R, K] -> [T, groups * R]: each group of columns by its own rows.
Rows grouped_product(const Matrix& weight, const Rows& x, int64_t groups);

double dot(std::span<const double> a, std::span<const double> b);

}  // namespace tessera::reference_model
