// SPDX-License-Identifier: Apache-2.0
// One case on a device: launch, replay, comparison. Private to conformance.cc.
#pragma once

#include "tessera/ops/frame/compare.h"
#include "tessera/ops/frame/prepared.h"

namespace tessera::ops {

/// An error is a failed allocation, compilation or launch; wrong results are in the comparison.
Result<Comparison> run_case(kernels::KernelLibrary& library, const Operator& op,
                            const Case& test_case, const PlanOptions& options);

}  // namespace tessera::ops
