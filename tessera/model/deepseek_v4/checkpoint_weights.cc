// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/checkpoint_weights.h"

#include <fmt/format.h>

namespace tessera::model::deepseek_v4 {
namespace {

/// FP4 pairs are stored as bytes of type i8.
ops::TensorDesc description(const checkpoint::Tensor& tensor) {
  ops::TensorDesc desc{tensor.dtype, tensor.shape};
  if (tensor.dtype == DType::i8 && desc.shape.rank() > 0) {
    desc.dtype = DType::f4e2m1;
    desc.shape[-1] *= 2;
  }
  return desc;
}

Result<std::unique_ptr<runtime::Buffer>> copied(runtime::Device& device,
                                                std::span<const std::byte> bytes) {
  TESSERA_ASSIGN(auto buffer, device.allocate(bytes.size()));
  TESSERA_ASSIGN(const auto stream, device.create_stream());
  TESSERA_TRY(stream->copy_to_device(*buffer, 0, bytes));
  TESSERA_TRY(stream->synchronize());
  return buffer;
}

}  // namespace

CheckpointWeights::CheckpointWeights(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                     runtime::Device& device)
    : checkpoint_(std::move(checkpoint)), device_(device), files_(checkpoint_->shards().size()) {}

Result<const runtime::Buffer*> CheckpointWeights::file(int shard) {
  auto& buffer = files_[static_cast<size_t>(shard)];
  if (buffer) return buffer.get();
  const checkpoint::Checkpoint::Shard& source = checkpoint_->shards()[static_cast<size_t>(shard)];
  auto imported = device_.import_host(source.file.bytes());
  if (!imported.ok() && imported.error().code == ErrorCode::unsupported)
    imported = copied(device_, source.file.bytes());
  if (!imported.ok())
    return std::move(imported).context(fmt::format("weights of {}", source.path.string())).error();
  buffer = std::move(*imported);
  return buffer.get();
}

Result<DeviceTensor> CheckpointWeights::tensor(std::string_view name) {
  const checkpoint::Tensor* const found = checkpoint_->find(name);
  if (!found) return not_found(fmt::format("the checkpoint has no tensor {}", name));
  TESSERA_ASSIGN(const runtime::Buffer* const buffer, file(found->shard));
  const std::byte* const start =
      checkpoint_->shards()[static_cast<size_t>(found->shard)].file.bytes().data();
  return DeviceTensor{description(*found),
                      buffer->address() + static_cast<uint64_t>(found->data.data() - start), true};
}

Result<DeviceTensor> CheckpointWeights::table(std::span<const int64_t> numbers) {
  TESSERA_ASSIGN(auto buffer, copied(device_, std::as_bytes(numbers)));
  tables_.push_back(std::move(buffer));
  return DeviceTensor{{DType::i64, {std::ssize(numbers)}}, tables_.back()->address(), true};
}

}  // namespace tessera::model::deepseek_v4
