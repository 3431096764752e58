// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/rescaled_experts.h"

#include <fmt/format.h>

#include <mutex>
#include <optional>

#include "tessera/base/parallel.h"
#include "tessera/checkpoint/scaled_blocks.h"

namespace tessera::model::deepseek_v4 {
namespace {

int64_t blocks_of(int64_t extent) {
  return (extent + checkpoint::kFp8Block - 1) / checkpoint::kFp8Block;
}

}  // namespace

RescaledExperts::RescaledExperts(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                 std::shared_ptr<WeightSource> rest, runtime::Device& device,
                                 Shards shards)
    : checkpoint_(std::move(checkpoint)),
      rest_(std::move(rest)),
      device_(device),
      shards_(std::move(shards)) {}

WeightSource::Held RescaledExperts::held() const {
  Held all = rest_->held();
  for (const auto& buffer : buffers_) all.copied += buffer->size();
  return all;
}

Result<DeviceTensor> RescaledExperts::on_device(DType dtype, Shape shape,
                                                std::span<const uint8_t> bytes) {
  TESSERA_ASSIGN(auto buffer, device_.allocate(bytes.size()));
  TESSERA_TRY(stream_->copy_to_device(*buffer, 0, std::as_bytes(bytes)));
  TESSERA_TRY(stream_->synchronize());
  const uint64_t address = buffer->address();
  buffers_.push_back(std::move(buffer));
  return DeviceTensor{{dtype, shape}, address, true};
}

Result<void> RescaledExperts::rescale_all() {
  TESSERA_ASSIGN(stream_, device_.create_stream());
  std::vector<const checkpoint::Tensor*> packed;
  for (const checkpoint::Tensor& tensor : checkpoint_->tensors())
    if (tensor.dtype == DType::i8 && is_of_experts(tensor.name) &&
        !shards_.is_elsewhere(tensor.name))
      packed.push_back(&tensor);
  std::mutex mutex;  // of what follows
  std::optional<Error> failure;
  const auto one = [&](const checkpoint::Tensor& weight) -> Result<void> {
    const std::string scale_name = weight.name.substr(0, weight.name.rfind('.')) + ".scale";
    const checkpoint::Tensor* const scale = checkpoint_->find(scale_name);
    if (!scale) return not_found(fmt::format("the checkpoint has no tensor {}", scale_name));
    const int64_t rows = weight.shape[0], columns = weight.shape[1] * 2;
    const Shape blocks{blocks_of(rows), blocks_of(columns)};
    std::vector<uint8_t> codes(static_cast<size_t>(rows * columns)),
        scales(static_cast<size_t>(blocks.numel()));
    checkpoint::Rounding none;
    const auto fault = checkpoint::rescale_fp4({weight.data, scale->data, rows, columns},
                                               checkpoint::Inexact::refuse, codes, scales, none);
    if (fault)
      return unsupported(
          fmt::format("{}, {}; take another precision than fp8", weight.name, fault->to_string()));
    const std::lock_guard lock(mutex);
    TESSERA_ASSIGN(made_[weight.name], on_device(DType::f8e4m3, {rows, columns}, codes));
    TESSERA_ASSIGN(made_[scale_name], on_device(DType::f8e8m0, blocks, scales));
    return {};
  };
  for_each_parallel(packed.size(), 0, [&](size_t i) {
    auto done = one(*packed[i]);
    if (done.ok()) return;
    const std::lock_guard lock(mutex);
    if (!failure) failure = std::move(done).error();
  });
  if (failure) return std::move(*failure);
  return {};
}

Result<DeviceTensor> RescaledExperts::tensor(std::string_view name) {
  if (!is_of_experts(name)) return rest_->tensor(name);
  if (made_.empty()) TESSERA_TRY(rescale_all());
  const auto found = made_.find(name);
  return found != made_.end() ? Result<DeviceTensor>(found->second) : rest_->tensor(name);
}

Result<DeviceTensor> RescaledExperts::table(std::span<const int64_t> numbers) {
  return rest_->table(numbers);
}

}  // namespace tessera::model::deepseek_v4
