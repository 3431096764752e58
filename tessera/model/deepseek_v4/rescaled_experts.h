// SPDX-License-Identifier: Apache-2.0
// FP4 experts made anew as e4m3 with scales of 128 x 128 while they are loaded, without loss.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/checkpoint/checkpoint.h"
#include "tessera/model/deepseek_v4/sharding.h"
#include "tessera/model/deepseek_v4/weight_source.h"

namespace tessera::model::deepseek_v4 {

/// Another source whose FP4 experts are re-scaled, all at once when the first is asked for.
class RescaledExperts final : public WeightSource {
 public:
  RescaledExperts(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                  std::shared_ptr<WeightSource> rest, runtime::Device& device, Shards shards = {});

  Result<DeviceTensor> tensor(std::string_view name) override;
  Result<DeviceTensor> table(std::span<const int64_t> numbers) override;
  Held held() const override;

 private:
  Result<void> rescale_all();
  Result<DeviceTensor> on_device(DType dtype, Shape shape, std::span<const uint8_t> bytes);

  std::shared_ptr<const checkpoint::Checkpoint> checkpoint_;
  std::shared_ptr<WeightSource> rest_;
  runtime::Device& device_;
  const Shards shards_;
  std::unique_ptr<runtime::Stream> stream_;
  std::vector<std::unique_ptr<runtime::Buffer>> buffers_;
  std::map<std::string, DeviceTensor, std::less<>> made_;
};

}  // namespace tessera::model::deepseek_v4
