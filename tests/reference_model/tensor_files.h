// SPDX-License-Identifier: Apache-2.0
// Reads safetensors files: one file, or a checkpoint folder with its index. Deliberately separate
// from the product's loader, so that one cannot hide the other's mistakes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tessera/base/mapped_file.h"
#include "tessera/base/result.h"
#include "tests/reference_model/rows.h"

namespace tessera::reference_model {

struct StoredTensor {
  std::string dtype;  // as in the file: F32, BF16, F8_E4M3, F8_E8M0, I8, I32, I64
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // at any alignment
};

class TensorFiles {
 public:
  /// One safetensors file, or a folder with model.safetensors.index.json or model.safetensors.
  static Result<TensorFiles> open(const std::filesystem::path& path);

  /// Null when there is no such tensor.
  const StoredTensor* find(const std::string& name) const;

  /// F32, BF16, I32 or I64 values of any shape; the last dimension is the columns. Aborts when the
  /// tensor is absent: for test vectors.
  Rows rows(const std::string& name) const;
  std::vector<int64_t> integers(const std::string& name) const;

 private:
  Result<> add_file(const std::filesystem::path& path);

  std::vector<MappedFile> files_;
  std::map<std::string, StoredTensor> tensors_;
};

}  // namespace tessera::reference_model
