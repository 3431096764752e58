// SPDX-License-Identifier: Apache-2.0
// Tensor maps: how the copy engine of Hopper sees a view. A kernel that wants some says so in its
// own module, by an array `tensor_maps`; each launch makes them from the argument slots and passes
// them as parameters behind the others.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tessera/chips/cuda/driver.h"

namespace tessera::chips::cuda {

inline constexpr size_t kMaxTensorMaps = 8;

/// What the driver encodes; opaque.
struct alignas(64) TensorMap {
  std::array<uint64_t, 16> words;
};

/// One map of a kernel: boxes of rows of 128 bytes of the last two dimensions, swizzled.
struct TensorMapForm {
  uint32_t slot = 0;  // first of the view's: address, extents, strides
  uint32_t rank = 0;  // 2 to 5
  uint32_t element_bytes = 0;
  uint32_t rows = 0, columns = 0;  // of a box
};

/// Those of a loaded module; empty: it has none.
Result<std::vector<TensorMapForm>> tensor_maps_of(const Driver& driver, CUmodule module);

/// The map of the view in `slots`. `invalid_argument` for a view the copy engine cannot reach.
Result<void> encode(const Driver& driver, const TensorMapForm& form,
                    std::span<const uint64_t> slots, TensorMap& map);

}  // namespace tessera::chips::cuda
