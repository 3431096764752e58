// SPDX-License-Identifier: Apache-2.0
// Checks two promises about bits, for every operator and case: they do not depend on the number of
// threads, and with PlanOptions::deterministic a row alone has those it has among 63 others. No
// reference is needed: results are compared with each other.
#pragma once

#include <span>
#include <vector>

#include "tessera/ops/frame/conformance.h"

namespace tessera::ops {

/// `one` and `many` are two libraries for the same chip, of devices that use one thread and
/// several. Reports are in the order of `operators`; the text of a case begins with what it checks,
/// "threads" or "row". An operator has rows when one of its outputs has the leading dimension T; a
/// case has none when an optional integer a row (positions) is left out and the row's number
/// counts.
std::vector<OperatorReport> check_same_bits(kernels::KernelLibrary& one,
                                            kernels::KernelLibrary& many,
                                            std::span<const Operator* const> operators,
                                            const ConformanceOptions& options = {});

}  // namespace tessera::ops
