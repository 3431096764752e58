// SPDX-License-Identifier: Apache-2.0
// The weights of a mapped checkpoint, in place where the device reads host memory, else each copied
// to memory of its own: files align nothing. A rank takes its parts: rows in place, columns packed
// into memory of their own.
#pragma once

#include <memory>
#include <vector>

#include "tessera/checkpoint/checkpoint.h"
#include "tessera/model/deepseek_v4/sharding.h"
#include "tessera/model/deepseek_v4/weight_source.h"

namespace tessera::model::deepseek_v4 {

class CheckpointWeights final : public WeightSource {
 public:
  /// Tensors of type i8 are experts in INT8 or pairs of FP4, which `expert_dtype` tells.
  CheckpointWeights(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                    runtime::Device& device, Shards shards = {},
                    DType expert_dtype = DType::f4e2m1);

  /// `not_found` where the checkpoint has no tensor of that name.
  Result<DeviceTensor> tensor(std::string_view name) override;
  Result<DeviceTensor> table(std::span<const int64_t> numbers) override;
  Held held() const override { return held_; }

 private:
  /// Bytes of a file as the device reads them; nullptr: it reads no host memory.
  Result<const runtime::Buffer*> file(int shard);
  Result<std::unique_ptr<runtime::Buffer>> upload(std::span<const std::byte> bytes);
  Result<DeviceTensor> copied(const checkpoint::Tensor& source, const Slice& slice);
  ops::TensorDesc description(const checkpoint::Tensor& tensor, const Slice& slice) const;

  std::shared_ptr<const checkpoint::Checkpoint> checkpoint_;
  runtime::Device& device_;
  std::unique_ptr<runtime::Stream> stream_;              // made for the first upload
  std::vector<std::unique_ptr<runtime::Buffer>> files_;  // by shard
  std::vector<std::unique_ptr<runtime::Buffer>> tables_, parts_;
  const Shards shards_;
  const DType expert_dtype_;
  Held held_;
};

}  // namespace tessera::model::deepseek_v4
