// SPDX-License-Identifier: Apache-2.0
// The compile step of the null chip: a trace is its own machine code.
#pragma once

#include <memory>
#include <vector>

#include "tessera/compiler/target.h"

namespace tessera::chips::null {

std::vector<std::unique_ptr<compiler::Target>> targets();

}  // namespace tessera::chips::null
