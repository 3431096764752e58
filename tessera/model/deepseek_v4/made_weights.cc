// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/made_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "tessera/base/float_formats.h"
#include "tessera/model/deepseek_v4/weight_table.h"

namespace tessera::model::deepseek_v4 {
namespace {

constexpr size_t kPatternBytes = size_t{1} << 20;

/// As operators see a stored tensor; `rescaled`: FP4 experts are e4m3 with scales of 128 x 128.
ops::TensorDesc description(const WeightSpec& spec, bool is_fp4, bool rescaled) {
  ops::TensorDesc desc{spec.dtype, spec.shape};
  if (!is_fp4) return desc;
  if (!spec.is_scale) {
    desc.dtype = rescaled ? DType::f8e4m3 : DType::f4e2m1;
    desc.shape[1] *= 2;
  } else if (rescaled) {
    desc.shape[0] = (desc.shape[0] + 127) / 128;
    desc.shape[1] = (desc.shape[1] + 3) / 4;
  }
  return desc;
}

/// Random values of `dtype`, all finite: rows of a few thousand products come out near 1.
std::vector<std::byte> pattern_of(DType dtype) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, 1);
  std::vector<std::byte> bytes(kPatternBytes);
  const auto fill = [&](auto make) {
    for (size_t at = 0; at < bytes.size(); at += sizeof(make())) {
      const auto value = make();
      std::memcpy(&bytes[at], &value, sizeof(value));
    }
  };
  if (dtype == DType::f32) fill([&] { return 0.02f * normal(random); });
  if (dtype == DType::bf16) fill([&] { return encode_bf16(0.02f * normal(random)); });
  if (dtype == DType::f8e4m3) fill([&] { return encode_e4m3(normal(random)); });
  if (dtype == DType::f4e2m1 || dtype == DType::i8)
    fill([&] { return static_cast<uint8_t>(random()); });
  if (dtype == DType::f8e8m0) fill([&] { return uint8_t{127 - 6}; });
  return bytes;
}

/// Experts by token, as hash-routed layers look them up: distinct ones.
std::vector<std::byte> routing_table(const Shape& shape, int64_t experts) {
  std::vector<int64_t> ids;
  for (int64_t token = 0; token < shape[0]; ++token)
    for (int64_t j = 0; j < shape[1]; ++j)
      ids.push_back((token * 7 + j * (experts / shape[1])) % experts);
  const auto bytes = std::as_bytes(std::span(ids));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

WeightShapes::WeightShapes(const Config& config, Precision precision, Rank rank) {
  const bool has_fp4 = config.expert_dtype == DType::f4e2m1;
  for (WeightSpec& spec : expand_weights(config, config.draft_layers)) {
    const Slice slice = slice_of(spec, config, rank);
    if (slice.rows() == 0 && spec.expert >= 0) continue;
    spec.shape[0] = slice.rows();
    if (spec.shape.rank() == 2) spec.shape[1] = slice.columns();
    descriptions_.emplace(
        spec.name, description(spec, has_fp4 && spec.expert >= 0, precision == Precision::fp8));
  }
}

Result<DeviceTensor> WeightShapes::tensor(std::string_view name) {
  const auto found = descriptions_.find(name);
  if (found == descriptions_.end())
    return internal_error(fmt::format("the weight table has no tensor {}", name));
  return DeviceTensor{found->second, 0, true};
}

Result<DeviceTensor> WeightShapes::table(std::span<const int64_t> numbers) {
  return DeviceTensor{{DType::i64, {std::ssize(numbers)}}, 0, true};
}

RandomWeights::RandomWeights(const Config& config, Precision precision, runtime::Device& device,
                             Rank rank)
    : WeightShapes(config, precision, rank), config_(config), device_(device) {}

Result<uint64_t> RandomWeights::filled(std::span<const std::byte> pattern, size_t bytes) {
  if (!stream_) {
    TESSERA_ASSIGN(stream_, device_.create_stream());
  }
  TESSERA_ASSIGN(auto buffer, device_.allocate(bytes));
  for (size_t at = 0; at < bytes; at += pattern.size())
    TESSERA_TRY(
        stream_->copy_to_device(*buffer, at, pattern.first(std::min(pattern.size(), bytes - at))));
  TESSERA_TRY(stream_->synchronize());
  buffers_.push_back(std::move(buffer));
  return buffers_.back()->address();
}

Result<DeviceTensor> RandomWeights::tensor(std::string_view name) {
  TESSERA_ASSIGN(DeviceTensor tensor, WeightShapes::tensor(name));
  const ops::TensorDesc& desc = tensor.desc;
  if (desc.dtype == DType::i64) {
    TESSERA_ASSIGN(tensor.address,
                   filled(routing_table(desc.shape, config_.experts), desc.bytes()));
    return tensor;
  }
  std::vector<std::byte>& pattern = patterns_[desc.dtype];
  if (pattern.empty()) pattern = pattern_of(desc.dtype);
  TESSERA_ASSIGN(tensor.address, filled(pattern, desc.bytes()));
  return tensor;
}

Result<DeviceTensor> RandomWeights::table(std::span<const int64_t> numbers) {
  TESSERA_ASSIGN(DeviceTensor tensor, WeightShapes::table(numbers));
  TESSERA_ASSIGN(tensor.address, filled(std::as_bytes(numbers), numbers.size_bytes()));
  return tensor;
}

}  // namespace tessera::model::deepseek_v4
