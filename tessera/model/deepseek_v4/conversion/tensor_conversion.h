// SPDX-License-Identifier: Apache-2.0
// One tensor of a conversion, streamed: a few MiB are read, changed, written and let go at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/checkpoint/safetensors_writer.h"
#include "tessera/model/deepseek_v4/conversion/conversion_plan.h"

namespace tessera::model::deepseek_v4 {

/// What conversions changed beyond the format.
struct ConversionLoss {
  checkpoint::Rounding rounding;  // FP8
  checkpoint::QuantisationError int8;
  void add(const ConversionLoss& other);
};

/// Called with the bytes written since the last call; false stops the conversion.
using Written = std::function<bool(uint64_t bytes)>;

/// Keeps its buffers from one tensor to the next.
class TensorConverter {
 public:
  explicit TensorConverter(const ConversionPlan& plan) : plan_(plan) {}

  /// Writes the tensor and its scales. Errors: unsupported for values that the format cannot hold,
  /// with tensor, block and codes; io; unavailable when stopped.
  Result<> convert(const Conversion& conversion, checkpoint::SafetensorsWriter& writer,
                   const Written& written);
  const ConversionLoss& loss() const { return loss_; }

 private:
  Result<> copy(const checkpoint::Tensor& from, const std::string& name,
                checkpoint::SafetensorsWriter& writer, const Written& written);
  Result<> change_rows(const Conversion& conversion, int64_t first, int64_t rows);
  Result<> widen(const Conversion& conversion, int64_t first, int64_t rows);
  static checkpoint::ScaledMatrix matrix_of(const Conversion& conversion, int64_t first,
                                            int64_t rows);

  const ConversionPlan& plan_;
  ConversionLoss loss_;
  std::vector<uint16_t> wide_;
  std::vector<std::byte> out_;
  std::vector<std::byte> scales_;  // of the whole tensor
};

}  // namespace tessera::model::deepseek_v4
