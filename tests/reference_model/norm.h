// SPDX-License-Identifier: Apache-2.0
// RMS norms.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/reference_model/numerics.h"

namespace tessera::reference_model {

/// x / sqrt(mean x^2 + eps) * weight for each run of weight.size() columns, rounded once
/// (model.py:183).
void rms_norm(const Numerics& numerics, std::span<const double> weight, double eps, Rows& x);

/// The norm of query heads, without a weight (model.py:498). The official code rounds to bf16 at
/// every step: square, mean, sum with eps, reciprocal root, product.
void head_rms_norm(const Numerics& numerics, int64_t head_dim, double eps, Rows& q);

}  // namespace tessera::reference_model
