// SPDX-License-Identifier: Apache-2.0
// Uses of operators and what can be said about them without compiling anything.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tessera/ops/frame/prepared.h"

namespace tessera::model {

struct OperatorUse {
  const ops::Operator* op;
  ops::Problem problem;
};

/// What plans depend on besides the problem.
struct Planning {
  const runtime::Capabilities& capabilities;
  ops::PlanOptions options = {};
};

/// Equal for uses that the same prepared operator serves.
std::string key_of(const OperatorUse& use);

/// Workspace of each use.
std::vector<int64_t> workspace_bytes(std::span<const OperatorUse> uses, const Planning& planning);

/// The kernels of all uses, each once. The error of the first use that fails names the operator and
/// its problem.
Result<std::vector<lang::Trace>> kernels_of(std::span<const OperatorUse> uses,
                                            const Planning& planning);

}  // namespace tessera::model
