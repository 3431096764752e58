// SPDX-License-Identifier: Apache-2.0
// A tensor of a mapped checkpoint.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tessera/base/dtype.h"
#include "tessera/base/shape.h"

namespace tessera::checkpoint {

struct Tensor {
  std::string name;
  DType dtype = DType::f32;  // as the file says: packed FP4 weights of DeepSeek are i8
  Shape shape;               // of elements of `dtype`
  /// Row-major, little-endian, pages of the mapped file. Files guarantee an alignment of 1 byte for
  /// one tensor and 8 bytes for all: do not assume that of the element type.
  std::span<const std::byte> data;
  int shard = 0;  // index into Checkpoint::shards()
};

}  // namespace tessera::checkpoint
