// SPDX-License-Identifier: Apache-2.0
// What operators ask about a chip's matrix instructions.
#pragma once

#include "tessera/runtime/capabilities.h"

namespace tessera::ops {

/// Whether products of many rows, of operands that are exact in bf16, have instructions for tiles.
inline bool has_matrix_tile(const runtime::Capabilities& caps) { return caps.matrix_tile[3].m > 0; }

}  // namespace tessera::ops
