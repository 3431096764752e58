// SPDX-License-Identifier: Apache-2.0
// Element by element, in a fixed order.
#pragma once

#include <cstddef>
#include <span>

#include "tessera/base/dtype.h"
#include "tessera/comm/communicator.h"

namespace tessera::comm {

/// out = parts[0] + parts[1] + .. (or their maximum) in that order; `out` may be one of them. bf16
/// is summed in f32 and rounded once. f32, bf16 or i32; all spans have the size of `out`.
void reduce_in_order(DType dtype, Reduction how, std::span<const std::byte* const> parts,
                     std::span<std::byte> out);

}  // namespace tessera::comm
