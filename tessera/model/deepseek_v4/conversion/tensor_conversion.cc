// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/conversion/tensor_conversion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace tessera::model::deepseek_v4 {
namespace {

using checkpoint::BlockFault;
using checkpoint::SafetensorsWriter;
using checkpoint::ScaledMatrix;
using checkpoint::Tensor;
using Change = Conversion::Change;

/// Written at once; a piece of one tensor.
constexpr int64_t kPieceBytes = int64_t{4} << 20;

Result<> stopped() { return make_error(ErrorCode::unavailable, "stopped"); }

/// `fault` counts rows from `first`; `hint` says what else can be done.
Error refusal(BlockFault fault, int64_t first, const Tensor& weight, std::string_view hint) {
  fault.row += first;
  return unsupported(fmt::format("{}, {}{}", weight.name, fault.to_string(), hint));
}

/// INT8, also stored as i8, is only copied.
bool is_fp4(const Conversion& c) { return c.weight->dtype == DType::i8; }

std::span<const std::byte> rows_of(const Tensor& tensor, int64_t first, int64_t rows) {
  const size_t bytes = tensor.data.size() / static_cast<size_t>(tensor.shape[0]);
  return tensor.data.subspan(static_cast<size_t>(first) * bytes, static_cast<size_t>(rows) * bytes);
}

}  // namespace

void ConversionLoss::add(const ConversionLoss& other) {
  rounding.blocks += other.rounding.blocks;
  rounding.largest = std::max(rounding.largest, other.rounding.largest);
  int8.add(other.int8);
}

Result<> TensorConverter::copy(const Tensor& from, const std::string& name,
                               SafetensorsWriter& writer, const Written& written) {
  for (size_t at = 0; at < from.data.size(); at += kPieceBytes) {
    const auto piece = from.data.subspan(at, std::min<size_t>(kPieceBytes, from.data.size() - at));
    TESSERA_TRY(writer.write(name, piece));
    plan_.source->dont_need(from, piece);
    if (!written(piece.size())) return stopped();
  }
  return {};
}

ScaledMatrix TensorConverter::matrix_of(const Conversion& c, int64_t first, int64_t rows) {
  const bool fp4 = is_fp4(c);
  const int64_t block = fp4 ? 1 : checkpoint::kFp8Block;
  return {rows_of(*c.weight, first, rows),
          rows_of(*c.scale, first / block, (rows + block - 1) / block), rows,
          c.weight->shape[1] * (fp4 ? 2 : 1)};
}

/// Into wide_, exactly.
Result<> TensorConverter::widen(const Conversion& c, int64_t first, int64_t rows) {
  if (c.weight->dtype == DType::bf16) {
    const auto row = static_cast<size_t>(c.weight->shape[1]) * 2;
    wide_.resize(static_cast<size_t>(rows * c.weight->shape[1]));
    std::memcpy(wide_.data(), c.weight->data.data() + static_cast<size_t>(first) * row,
                static_cast<size_t>(rows) * row);
    return {};
  }
  const ScaledMatrix matrix = matrix_of(c, first, rows);
  wide_.resize(static_cast<size_t>(rows * matrix.columns));
  const auto fault = is_fp4(c) ? widen_fp4(matrix, wide_) : widen_fp8(matrix, wide_);
  if (fault) return refusal(*fault, first, *c.weight, "");
  return {};
}

/// Rows of the source, into out_; their scales into scales_.
Result<> TensorConverter::change_rows(const Conversion& c, int64_t first, int64_t rows) {
  const int64_t columns = c.to.shape[1];
  out_.resize(static_cast<size_t>(size_in_bytes(c.to.dtype, rows * columns)));
  switch (c.change) {
    case Change::copy: break;
    case Change::widen_fp4:
    case Change::widen_fp8: {
      TESSERA_TRY(widen(c, first, rows));
      std::memcpy(out_.data(), wide_.data(), out_.size());
      break;
    }
    case Change::rescale_fp4: {
      constexpr int64_t kBlock = checkpoint::kFp8Block;
      const int64_t across = (columns + kBlock - 1) / kBlock, down = (rows + kBlock - 1) / kBlock;
      const auto scales = std::span(reinterpret_cast<uint8_t*>(scales_.data()), scales_.size())
                              .subspan(static_cast<size_t>(first / kBlock * across),
                                       static_cast<size_t>(down * across));
      const auto fault = rescale_fp4(matrix_of(c, first, rows), plan_.options.inexact,
                                     {reinterpret_cast<uint8_t*>(out_.data()), out_.size()}, scales,
                                     loss_.rounding);
      if (fault)
        return refusal(*fault, first, *c.weight,
                       "; --round rounds such blocks, --to bf16 keeps them exactly");
      break;
    }
    case Change::to_int8:
      TESSERA_TRY(widen(c, first, rows));
      for (int64_t r = 0; r < rows; ++r) {
        const auto at = static_cast<size_t>(r * columns), count = static_cast<size_t>(columns);
        const float scale = checkpoint::quantise_int8(
            std::span(wide_).subspan(at, count),
            {reinterpret_cast<int8_t*>(out_.data()) + at, count}, loss_.int8);
        std::memcpy(&scales_[static_cast<size_t>(first + r) * sizeof(scale)], &scale,
                    sizeof(scale));
      }
      break;
  }
  return {};
}

Result<> TensorConverter::convert(const Conversion& c, SafetensorsWriter& writer,
                                  const Written& written) {
  if (c.change == Change::copy) {
    TESSERA_TRY(copy(*c.weight, c.to.name, writer, written));
    return c.to_scale ? copy(*c.scale, c.to_scale->name, writer, written) : Result<>();
  }
  if (c.to_scale)
    scales_.resize(
        static_cast<size_t>(size_in_bytes(c.to_scale->dtype, c.to_scale->shape.numel())));
  const int64_t rows = c.to.shape[0];
  const int64_t row_bytes = size_in_bytes(c.to.dtype, c.to.shape[1]);
  // Whole blocks of 128 rows.
  const int64_t piece =
      std::max<int64_t>(1, kPieceBytes / row_bytes / checkpoint::kFp8Block) * checkpoint::kFp8Block;
  for (int64_t first = 0; first < rows; first += piece) {
    TESSERA_TRY(change_rows(c, first, std::min(piece, rows - first)));
    TESSERA_TRY(writer.write(c.to.name, out_));
    plan_.source->dont_need(*c.weight, rows_of(*c.weight, first, std::min(piece, rows - first)));
    if (!written(out_.size())) return stopped();
  }
  if (c.to_scale) {
    TESSERA_TRY(writer.write(c.to_scale->name, scales_));
    if (!written(scales_.size())) return stopped();
  }
  if (c.scale != nullptr) plan_.source->dont_need(*c.scale);
  return {};
}

}  // namespace tessera::model::deepseek_v4
