// SPDX-License-Identifier: Apache-2.0
// What the kernels of a use are specialised for, as a text: uses with equal texts share them, up to
// strides. Tuning is kept by it.
#pragma once

#include <string>

#include "tessera/ops/frame/plan.h"

namespace tessera::ops {

struct Operator;

/// "gemm_fp4 K=4096 N=2048 T<=8 a=f8e4m3 y=bf16": static dimensions, classes of dynamic ones, types
/// of tensors that have a choice, attributes other than their defaults.
std::string specialisation(const Operator& op, const Problem& problem, const PlanOptions& options);

/// `capabilities`, with the hints their tuning has for this use.
runtime::Capabilities tuned_for(const Operator& op, const Problem& problem,
                                const PlanOptions& options,
                                const runtime::Capabilities& capabilities);

}  // namespace tessera::ops
