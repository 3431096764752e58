// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/weight.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <cstring>

#include "tessera/base/float_formats.h"

namespace tessera::reference_model {
namespace {

constexpr int64_t kFp8Block = 128, kFp4Block = 32;

int64_t blocks(int64_t count, int64_t block) { return (count + block - 1) / block; }

double scale_value(uint8_t code) { return code == 255 ? NAN : std::ldexp(1.0, code - 127); }

template <auto decode, size_t N>
const std::array<double, N>& code_table() {
  static const auto table = [] {
    std::array<double, N> values{};
    for (size_t code = 0; code < N; ++code) values[code] = decode(static_cast<uint8_t>(code));
    return values;
  }();
  return table;
}

}  // namespace

Matrix::Matrix(const StoredTensor& codes, const StoredTensor* scales, int64_t rows, int64_t cols)
    : rows_(rows), cols_(cols), codes_(codes.bytes.data()) {
  if (codes.dtype == "F8_E4M3") kind_ = Kind::fp8;
  if (codes.dtype == "I8") kind_ = Kind::fp4;
  if (codes.dtype == "BF16") kind_ = Kind::bf16;
  scale_cols_ = blocks(cols, kind_ == Kind::fp8 ? kFp8Block : kFp4Block);
  if (scales) scales_ = scales->bytes.data();
}

void Matrix::decode_row(int64_t row, std::span<double> into) const {
  const auto& scales = code_table<scale_value, 256>();
  switch (kind_) {
    case Kind::f32:
      for (int64_t i = 0; i < cols_; ++i) {
        float value;
        std::memcpy(&value, codes_ + (row * cols_ + i) * 4, 4);
        into[i] = value;
      }
      return;
    case Kind::bf16:
      for (int64_t i = 0; i < cols_; ++i) {
        uint16_t code;
        std::memcpy(&code, codes_ + (row * cols_ + i) * 2, 2);
        into[i] = decode_bf16(code);
      }
      return;
    case Kind::fp8: {
      const auto& values = code_table<decode_e4m3, 256>();
      const std::byte* row_scales = scales_ + row / kFp8Block * scale_cols_;
      for (int64_t i = 0; i < cols_; ++i)
        into[i] = values[std::to_integer<int>(codes_[row * cols_ + i])] *
                  scales[std::to_integer<int>(row_scales[i / kFp8Block])];
      return;
    }
    case Kind::fp4: {
      const auto& values = code_table<decode_e2m1, 16>();
      const std::byte* row_scales = scales_ + row * scale_cols_;
      for (int64_t i = 0; i < cols_; i += 2) {
        const int pair = std::to_integer<int>(codes_[(row * cols_ + i) / 2]);
        const double scale = scales[std::to_integer<int>(row_scales[i / kFp4Block])];
        into[i] = values[pair & 15] * scale;
        into[i + 1] = values[pair >> 4] * scale;
      }
      return;
    }
  }
}

const StoredTensor* WeightReader::expect(const std::string& name,
                                         const std::vector<int64_t>& shape) {
  const StoredTensor* tensor = files_.find(name);
  if (tensor && tensor->shape == shape) return tensor;
  if (!error_) {
    error_ = tensor ? corrupt(fmt::format("{} has the shape [{}], expected [{}]", name,
                                          fmt::join(tensor->shape, ", "), fmt::join(shape, ", ")))
                    : not_found(fmt::format("the checkpoint has no tensor {}", name));
  }
  return nullptr;
}

Matrix WeightReader::linear(const std::string& name, int64_t rows, int64_t cols) {
  const std::string weight = name + ".weight", scale = name + ".scale";
  const StoredTensor* found = files_.find(weight);
  const bool fp4 = found && found->dtype == "I8", fp8 = found && found->dtype == "F8_E4M3";
  const StoredTensor* codes = expect(weight, {rows, fp4 ? cols / 2 : cols});
  const StoredTensor* scales = nullptr;
  if (fp4) scales = expect(scale, {rows, blocks(cols, kFp4Block)});
  if (fp8) scales = expect(scale, {blocks(rows, kFp8Block), blocks(cols, kFp8Block)});
  return codes ? Matrix(*codes, scales, rows, cols) : Matrix();
}

Matrix WeightReader::matrix(const std::string& name, int64_t rows, int64_t cols) {
  const StoredTensor* codes = expect(name, {rows, cols});
  return codes ? Matrix(*codes, nullptr, rows, cols) : Matrix();
}

std::vector<double> WeightReader::vector(const std::string& name, int64_t count) {
  if (!expect(name, {count})) return {};
  return files_.rows(name).values;
}

Rows WeightReader::table(const std::string& name, int64_t rows, int64_t cols) {
  if (!expect(name, {rows, cols})) return {};
  return files_.rows(name);
}

}  // namespace tessera::reference_model
