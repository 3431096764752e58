// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/rescaled_experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>

#include "tessera/base/float_formats.h"
#include "tessera/base/parallel.h"

namespace tessera::model::deepseek_v4 {
namespace {

constexpr int64_t kBlock = 128, kGroup = 32;
// 6 x 2^6 is the largest e4m3 value of that mantissa; 0.5 x 2^-8 is its smallest subnormal.
constexpr int kMostUp = 6, kMostDown = -8;

class Block {
 public:
  Block(std::span<const std::byte> codes, std::span<const std::byte> scales, int64_t columns)
      : codes_(codes), scales_(scales), columns_(columns) {}

  uint8_t code(int64_t row, int64_t column) const {
    const auto pair =
        static_cast<uint8_t>(codes_[static_cast<size_t>((row * columns_ + column) / 2)]);
    return column % 2 == 0 ? pair & 0xf : pair >> 4;
  }
  int scale(int64_t row, int64_t column) const {
    return static_cast<uint8_t>(
        scales_[static_cast<size_t>(row * ((columns_ + kGroup - 1) / kGroup) + column / kGroup)]);
  }

 private:
  std::span<const std::byte> codes_, scales_;
  int64_t columns_;
};

}  // namespace

Result<Rescaled> rescale_fp4(std::span<const std::byte> codes, std::span<const std::byte> scales,
                             int64_t rows, int64_t columns) {
  const Block source(codes, scales, columns);
  const int64_t across = (columns + kBlock - 1) / kBlock, down = (rows + kBlock - 1) / kBlock;
  Rescaled made{std::vector<uint8_t>(static_cast<size_t>(rows * columns)),
                std::vector<uint8_t>(static_cast<size_t>(down * across))};
  for (int64_t b = 0; b < down * across; ++b) {
    const int64_t row0 = b / across * kBlock, column0 = b % across * kBlock;
    const int64_t row1 = std::min(rows, row0 + kBlock),
                  column1 = std::min(columns, column0 + kBlock);
    int low = 255, high = 0;  // of scales that multiply anything but zeros
    for (int64_t r = row0; r < row1; ++r)
      for (int64_t c = column0; c < column1; ++c) {
        if ((source.code(r, c) & 7) == 0) continue;
        low = std::min(low, source.scale(r, c));
        high = std::max(high, source.scale(r, c));
      }
    const int scale = std::max(0, high - kMostUp);
    if (high == 255 || (low <= high && low - scale < kMostDown))
      return unsupported(fmt::format(
          "the block of rows {} to {} and columns {} to {} has scales 2^{} to 2^{}: e4m3 with one "
          "scale spans a factor of 2^{}",
          row0, row1 - 1, column0, column1 - 1, low - 127, high - 127, kMostUp - kMostDown));
    made.scales[static_cast<size_t>(b)] = static_cast<uint8_t>(scale);
    for (int64_t r = row0; r < row1; ++r)
      for (int64_t c = column0; c < column1; ++c) {
        const float value = std::ldexp(decode_e2m1(source.code(r, c)), source.scale(r, c) - scale);
        made.codes[static_cast<size_t>(r * columns + c)] = encode_e4m3(value);
      }
  }
  return made;
}

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
    if (tensor.dtype == DType::i8 && tensor.name.find(".experts.") != std::string::npos &&
        !shards_.is_elsewhere(tensor.name))
      packed.push_back(&tensor);
  std::mutex mutex;  // of what follows
  std::optional<Error> failure;
  const auto one = [&](const checkpoint::Tensor& weight) -> Result<void> {
    const std::string scale_name = weight.name.substr(0, weight.name.rfind('.')) + ".scale";
    const checkpoint::Tensor* const scale = checkpoint_->find(scale_name);
    if (!scale) return not_found(fmt::format("the checkpoint has no tensor {}", scale_name));
    const int64_t rows = weight.shape[0], columns = weight.shape[1] * 2;
    TESSERA_ASSIGN(const Rescaled made,
                   rescale_fp4(weight.data, scale->data, rows, columns).context(weight.name));
    const std::lock_guard lock(mutex);
    TESSERA_ASSIGN(made_[weight.name], on_device(DType::f8e4m3, {rows, columns}, made.codes));
    TESSERA_ASSIGN(
        made_[scale_name],
        on_device(DType::f8e8m0, {(rows + kBlock - 1) / kBlock, (columns + kBlock - 1) / kBlock},
                  made.scales));
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
  if (name.find(".experts.") == std::string_view::npos) return rest_->tensor(name);
  if (made_.empty()) TESSERA_TRY(rescale_all());
  const auto found = made_.find(name);
  return found != made_.end() ? Result<DeviceTensor>(found->second) : rest_->tensor(name);
}

Result<DeviceTensor> RescaledExperts::table(std::span<const int64_t> numbers) {
  return rest_->table(numbers);
}

}  // namespace tessera::model::deepseek_v4
