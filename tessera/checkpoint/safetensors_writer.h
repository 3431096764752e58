// SPDX-License-Identifier: Apache-2.0
// Writes one safetensors file: what it will hold is said first, then the data is streamed. The file
// appears under its name only when it is whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/atomic_file.h"
#include "tessera/base/dtype.h"
#include "tessera/base/result.h"
#include "tessera/base/shape.h"
#include "tessera/checkpoint/safetensors_header.h"

namespace tessera::checkpoint {

/// A tensor to be written. Names are UTF-8.
struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

/// The header of a file that holds these tensors in this order. Errors: invalid_argument for equal
/// names.
Result<SafetensorsHeader> make_header(std::span<const TensorSpec> tensors,
                                      std::map<std::string, std::string> metadata = {});

class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                          std::span<const TensorSpec> tensors,
                                          std::map<std::string, std::string> metadata = {});

  /// The next part of the data of `name`; tensors come in the order given to create(). Errors:
  /// invalid_argument when another tensor's turn it is or the tensor is full; io.
  Result<> write(std::string_view name, std::span<const std::byte> bytes);
  /// Errors: invalid_argument when data is missing; io.
  Result<> finish();

 private:
  SafetensorsWriter(AtomicFile file, SafetensorsHeader header)
      : file_(std::move(file)), header_(std::move(header)) {}
  /// Steps over tensors that are complete.
  void advance();

  AtomicFile file_;
  SafetensorsHeader header_;
  size_t current_ = 0;
  uint64_t written_ = 0;  // bytes of all data
};

}  // namespace tessera::checkpoint
