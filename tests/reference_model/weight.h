// SPDX-License-Identifier: Apache-2.0
// Weights as stored, widened exactly to double. A matrix keeps its bytes in the mapped file and is
// decoded row by row, so that a checkpoint of any size opens at once.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/reference_model/rows.h"
#include "tests/reference_model/tensor_files.h"

namespace tessera::reference_model {

/// W [rows, cols]. Stored as BF16, as F32, as F8_E4M3 with a scale for each 128 x 128 block, or as
/// I8 = two E2M1 codes a byte (low nibble first) with a scale for each row and 32 columns.
class Matrix {
 public:
  Matrix() = default;
  Matrix(const StoredTensor& codes, const StoredTensor* scales, int64_t rows, int64_t cols);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  /// FP8 and FP4: linears that quantise their activations.
  bool quantised() const { return kind_ == Kind::fp8 || kind_ == Kind::fp4; }
  void decode_row(int64_t row, std::span<double> into) const;

 private:
  enum class Kind { f32, bf16, fp8, fp4 };
  Kind kind_ = Kind::f32;
  int64_t rows_ = 0, cols_ = 0, scale_cols_ = 0;
  const std::byte* codes_ = nullptr;
  const std::byte* scales_ = nullptr;
};

/// Gives out weights by name and checks shapes; remembers the first mistake instead of returning
/// it from every call.
class WeightReader {
 public:
  explicit WeightReader(const TensorFiles& files) : files_(files) {}

  /// name + ".weight", with name + ".scale" where it is quantised.
  Matrix linear(const std::string& name, int64_t rows, int64_t cols);
  /// A matrix under its plain name: hc_attn_fn, ape.
  Matrix matrix(const std::string& name, int64_t rows, int64_t cols);
  std::vector<double> vector(const std::string& name, int64_t count);
  Rows table(const std::string& name, int64_t rows, int64_t cols);
  bool has(const std::string& name) const { return files_.find(name) != nullptr; }

  const std::optional<Error>& error() const { return error_; }

 private:
  const StoredTensor* expect(const std::string& name, const std::vector<int64_t>& shape);

  const TensorFiles& files_;
  std::optional<Error> error_;
};

}  // namespace tessera::reference_model
