// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/model/deepseek_v4/cache_layout.h"

namespace tessera::model::deepseek_v4 {
namespace {

/// Takes tensors by name and keeps the first error.
class Assembler {
 public:
  Assembler(const Config& config, WeightSource& source, Rank rank)
      : config_(config), source_(source), experts_(expert_share(config, rank)) {}

  DeviceTensor tensor(const std::string& name) {
    if (error_) return {};
    auto found = source_.tensor(name);
    if (!found.ok()) {
      error_ = std::move(found).error();
      return {};
    }
    return std::move(*found);
  }
  LinearWeights linear(const std::string& name) {
    if (config_.linear_dtype == DType::bf16) return {tensor(name + ".weight"), {}};
    return {tensor(name + ".weight"), tensor(name + ".scale")};
  }
  HyperWeights hyper(const std::string& name) {
    return {tensor(name + "_fn"), tensor(name + "_base"), tensor(name + "_scale")};
  }
  CompressorWeights compressor(const std::string& name) {
    return {tensor(name + ".ape"), tensor(name + ".wkv.weight"), tensor(name + ".wgate.weight"),
            tensor(name + ".norm.weight")};
  }
  AttentionWeights attention(const std::string& name, int64_t ratio) {
    AttentionWeights w;
    w.wq_a = linear(name + ".wq_a");
    w.wq_b = linear(name + ".wq_b");
    w.wkv = linear(name + ".wkv");
    w.q_norm = tensor(name + ".q_norm.weight");
    w.kv_norm = tensor(name + ".kv_norm.weight");
    w.sink = tensor(name + ".attn_sink");
    w.wo_a = by_group(linear(name + ".wo_a"));
    w.wo_b = linear(name + ".wo_b");
    if (ratio != 0) w.compressor = compressor(name + ".compressor");
    if (CacheLayout::is_indexed(ratio)) {
      w.indexer.wq_b = linear(name + ".indexer.wq_b");
      w.indexer.weights_proj = tensor(name + ".indexer.weights_proj.weight");
      w.indexer.compressor = compressor(name + ".indexer.compressor");
    }
    return w;
  }
  MoeWeights moe(const std::string& name, bool hashed) {
    MoeWeights w;
    w.gate = tensor(name + ".gate.weight");
    (hashed ? w.tid2eid : w.bias) = tensor(name + (hashed ? ".gate.tid2eid" : ".gate.bias"));
    w.w1 = stack(name, "w1");
    w.w2 = stack(name, "w2");
    w.w3 = stack(name, "w3");
    w.shared_w1 = linear(name + ".shared_experts.w1");
    w.shared_w2 = linear(name + ".shared_experts.w2");
    w.shared_w3 = linear(name + ".shared_experts.w3");
    return w;
  }
  LayerWeights layer(const std::string& name, int64_t ratio, bool hashed) {
    LayerWeights w;
    w.attention_mix = hyper(name + ".hc_attn");
    w.moe_mix = hyper(name + ".hc_ffn");
    w.attention_norm = tensor(name + ".attn_norm.weight");
    w.moe_norm = tensor(name + ".ffn_norm.weight");
    w.attention = attention(name + ".attn", ratio);
    w.moe = moe(name + ".ffn", hashed);
    return w;
  }
  DraftWeights draft(const std::string& name, const DeviceTensor& projection) {
    DraftWeights w;
    w.e_proj = linear(name + ".e_proj");
    w.h_proj = linear(name + ".h_proj");
    w.e_norm = tensor(name + ".enorm.weight");
    w.h_norm = tensor(name + ".hnorm.weight");
    w.layer = layer(name, 0, false);
    w.head = {hyper(name + ".hc_head"), tensor(name + ".norm.weight"), projection};
    return w;
  }
  std::optional<Error>& error() { return error_; }

 private:
  /// [groups * rank, K] on disk, [groups, rank, K] as the product of groups takes it. The groups
  /// stay apart here and in the product, so that ranks may own groups or parts of them.
  LinearWeights by_group(LinearWeights w) const {
    if (error_) return w;
    const int64_t groups = w.w.desc.shape[0] / config_.o_lora_rank;
    for (DeviceTensor* t : {&w.w, &w.scale}) {
      if (!*t) continue;
      const Shape& flat = t->desc.shape;
      t->desc.shape = Shape{groups, flat[0] / groups, flat[1]};
    }
    return w;
  }
  ExpertStack stack(const std::string& name, const char* matrix) {
    std::vector<DeviceTensor> w, scale;
    for (int64_t e = experts_.begin; e < experts_.end; ++e) {
      const std::string expert = fmt::format("{}.experts.{}.{}", name, e, matrix);
      w.push_back(tensor(expert + ".weight"));
      if (config_.expert_dtype != DType::bf16) scale.push_back(tensor(expert + ".scale"));
    }
    ExpertStack all;
    stack(w, all.w, all.offsets);
    stack(scale, all.scale, all.scale_offsets);
    return all;
  }
  /// One description for all of `tensors`: a step along its first dimension is a byte, or one
  /// element where that is more.
  void stack(const std::vector<DeviceTensor>& tensors, DeviceTensor& all, DeviceTensor& offsets) {
    if (error_ || tensors.empty()) return;
    const auto [low, high] =
        std::ranges::minmax_element(tensors, {}, [](const DeviceTensor& t) { return t.address; });
    const DType dtype = low->desc.dtype;
    const auto step = static_cast<uint64_t>(std::max(1, bits(dtype) / 8));
    std::vector<int64_t> steps;
    for (const DeviceTensor& t : tensors) {
      if ((t.address - low->address) % step != 0)
        error_ = unsupported(fmt::format(
            "experts in {} lie {} bytes apart, no multiple of {}: write the checkpoint anew with "
            "`tessera convert --to native`",
            tessera::name(dtype), t.address - low->address, step));
      steps.push_back(static_cast<int64_t>((t.address - low->address) / step));
    }
    if (error_) return;
    const Shape& one = low->desc.shape;
    const int64_t places = static_cast<int64_t>((high->address - low->address) / step) + 1;
    const int64_t a_step = dtype == DType::f4e2m1 ? 2 : 1;
    if (one.rank() == 1)
      all.desc = {dtype, {places, one[0]}, {a_step, 1}};
    else
      all.desc = {dtype, {places, one[0], one[1]}, {a_step, one[1], 1}};
    all.address = low->address;
    all.present = true;
    auto made = source_.table(steps);
    if (made.ok())
      offsets = std::move(*made);
    else
      error_ = std::move(made).error();
  }

  const Config& config_;
  WeightSource& source_;
  const Share experts_;
  std::optional<Error> error_;
};

}  // namespace

Result<Weights> assemble_weights(const Config& config, WeightSource& source, bool with_draft,
                                 Rank rank) {
  Assembler a(config, source, rank);
  Weights weights;
  weights.embedding = a.tensor("embed.weight");
  for (size_t i = 0; i < config.layers.size(); ++i)
    weights.layers.push_back(
        a.layer(fmt::format("layers.{}", i), config.layers[i].ratio, config.layers[i].hash_routed));
  weights.head = {a.hyper("hc_head"), a.tensor("norm.weight"), a.tensor("head.weight")};
  if (with_draft) weights.draft = a.draft("mtp.0", weights.head.projection);
  if (a.error()) return std::move(*a.error());
  return weights;
}

}  // namespace tessera::model::deepseek_v4
