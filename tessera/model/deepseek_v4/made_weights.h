// SPDX-License-Identifier: Apache-2.0
// Weights that no checkpoint holds: shapes alone, for plans; random numbers, for measurements.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/precision.h"
#include "tessera/model/deepseek_v4/sharding.h"
#include "tessera/model/deepseek_v4/weight_source.h"

namespace tessera::model::deepseek_v4 {

/// Descriptions of a rank's tensors of a configuration, at no address.
class WeightShapes : public WeightSource {
 public:
  WeightShapes(const Config& config, Precision precision, Rank rank = {});

  Result<DeviceTensor> tensor(std::string_view name) override;
  Result<DeviceTensor> table(std::span<const int64_t> numbers) override;

 private:
  std::map<std::string, ops::TensorDesc, std::less<>> descriptions_;
};

/// Random weights in memory of the device: finite everywhere, of the size that keeps activations
/// near 1. The same for every run.
class RandomWeights final : public WeightShapes {
 public:
  RandomWeights(const Config& config, Precision precision, runtime::Device& device, Rank rank = {});

  Result<DeviceTensor> tensor(std::string_view name) override;
  Result<DeviceTensor> table(std::span<const int64_t> numbers) override;

 private:
  /// A buffer of copies of `pattern`.
  Result<uint64_t> filled(std::span<const std::byte> pattern, size_t bytes);

  const Config config_;
  runtime::Device& device_;
  std::unique_ptr<runtime::Stream> stream_;
  std::map<DType, std::vector<std::byte>> patterns_;
  std::vector<std::unique_ptr<runtime::Buffer>> buffers_;
};

}  // namespace tessera::model::deepseek_v4
