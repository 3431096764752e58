// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file: 8 bytes of length (little-endian), that many bytes of JSON
//   {"__metadata__": {"k": "v"}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0,
//   12]}}
// and the data of the tensors, which covers the rest of the file without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/dtype.h"
#include "tessera/base/result.h"
#include "tessera/base/shape.h"

namespace tessera::checkpoint {

/// "BF16", "F8_E4M3", ...: the format's name of a type. u32 .. f4e2m1 all have one.
std::string_view safetensors_name(DType dtype);
std::optional<DType> parse_safetensors_dtype(std::string_view name);

struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes, from the start of the data
};

struct SafetensorsHeader {
  /// Longer headers are refused unread, as the format's own library does.
  static constexpr uint64_t kMaxBytes = 100'000'000;

  std::vector<TensorEntry> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
  uint64_t data_offset = 0;  // of the data in the file

  /// Reads and checks the header of a whole file: tensors are unique, have the bytes that dtype and
  /// shape ask for, and cover the data once. Errors: corrupt, unsupported (dtype, rank above 4).
  static Result<SafetensorsHeader> read(std::span<const std::byte> file);

  /// Length and JSON, padded so that the data starts at a multiple of 64 bytes.
  std::string print() const;
};

}  // namespace tessera::checkpoint
