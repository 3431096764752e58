// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/checkpoint_weights.h"

#include <fmt/format.h>

#include <cstring>

namespace tessera::model::deepseek_v4 {
CheckpointWeights::CheckpointWeights(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                     runtime::Device& device, Shards shards, DType expert_dtype)
    : checkpoint_(std::move(checkpoint)),
      device_(device),
      files_(checkpoint_->shards().size()),
      shards_(std::move(shards)),
      expert_dtype_(expert_dtype) {}

ops::TensorDesc CheckpointWeights::description(const checkpoint::Tensor& tensor,
                                               const Slice& slice) const {
  ops::TensorDesc desc{tensor.dtype, tensor.shape};
  desc.shape[0] = slice.rows();
  if (desc.shape.rank() == 2) desc.shape[1] = slice.columns();
  if (tensor.dtype == DType::i8 && desc.shape.rank() > 0 && expert_dtype_ == DType::f4e2m1) {
    desc.dtype = DType::f4e2m1;
    desc.shape[-1] *= 2;
  }
  return desc;
}

Result<const runtime::Buffer*> CheckpointWeights::file(int shard) {
  auto& buffer = files_[static_cast<size_t>(shard)];
  if (buffer) return buffer.get();
  const checkpoint::Checkpoint::Shard& source = checkpoint_->shards()[static_cast<size_t>(shard)];
  auto imported = device_.import_host(source.file.bytes());
  if (!imported.ok() && imported.error().code == ErrorCode::unsupported) return nullptr;
  if (!imported.ok())
    return std::move(imported).context(fmt::format("weights of {}", source.path.string())).error();
  buffer = std::move(*imported);
  return buffer.get();
}

Result<std::unique_ptr<runtime::Buffer>> CheckpointWeights::upload(
    std::span<const std::byte> bytes) {
  if (!stream_) {
    TESSERA_ASSIGN(stream_, device_.create_stream());
  }
  TESSERA_ASSIGN(auto buffer, device_.allocate(bytes.size()));
  TESSERA_TRY(stream_->copy_to_device(*buffer, 0, bytes));
  TESSERA_TRY(stream_->synchronize());
  return buffer;
}

Result<DeviceTensor> CheckpointWeights::copied(const checkpoint::Tensor& source,
                                               const Slice& slice) {
  const int64_t columns = source.shape.rank() == 2 ? source.shape[1] : 1;
  const auto row = static_cast<size_t>(size_in_bytes(source.dtype, columns)),
             first = static_cast<size_t>(size_in_bytes(source.dtype, slice.column_begin)),
             part = static_cast<size_t>(size_in_bytes(source.dtype, slice.columns())),
             rows = static_cast<size_t>(slice.rows());
  std::span<const std::byte> bytes =
      source.data.subspan(static_cast<size_t>(slice.row_begin) * row, rows * row);
  std::vector<std::byte> packed;
  if (part < row) {
    packed.resize(rows * part);
    for (size_t r = 0; r < rows; ++r)
      std::memcpy(&packed[r * part], bytes.data() + r * row + first, part);
    bytes = packed;
  }
  TESSERA_ASSIGN(auto buffer, upload(bytes).context(source.name));
  parts_.push_back(std::move(buffer));
  held_.copied += bytes.size();
  return DeviceTensor{description(source, slice), parts_.back()->address(), true};
}

Result<DeviceTensor> CheckpointWeights::tensor(std::string_view name) {
  const checkpoint::Tensor* const found = checkpoint_->find(name);
  if (!found) return not_found(fmt::format("the checkpoint has no tensor {}", name));
  const Shards::Part* const part = shards_.find(name);
  if (found->shape.rank() == 0 || found->shape.rank() > 2 ||
      (part && (part->slice.row_end > found->shape[0] ||
                part->slice.column_end > (found->shape.rank() == 2 ? found->shape[1] : 1))))
    return corrupt(
        fmt::format("{} is {}, which this model cannot have", name, found->shape.to_string()));
  const int64_t columns = found->shape.rank() == 2 ? found->shape[1] : 1;
  const Slice slice = part ? part->slice : Slice{0, found->shape[0], 0, columns};
  if (slice.rows() == 0 || slice.columns() == 0)
    return DeviceTensor{description(*found, slice), 0, true};
  TESSERA_ASSIGN(const runtime::Buffer* const buffer, file(found->shard));
  if (!buffer || (part && !part->is_rows)) return copied(*found, slice);
  const std::byte* const start =
      checkpoint_->shards()[static_cast<size_t>(found->shard)].file.bytes().data();
  const int64_t skipped = size_in_bytes(found->dtype, slice.row_begin * columns);
  held_.mapped += slice.bytes(found->dtype);
  return DeviceTensor{
      description(*found, slice),
      buffer->address() + static_cast<uint64_t>(found->data.data() - start + skipped), true};
}

Result<DeviceTensor> CheckpointWeights::table(std::span<const int64_t> numbers) {
  TESSERA_ASSIGN(auto buffer, upload(std::as_bytes(numbers)));
  tables_.push_back(std::move(buffer));
  return DeviceTensor{{DType::i64, {std::ssize(numbers)}}, tables_.back()->address(), true};
}

}  // namespace tessera::model::deepseek_v4
