// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/tensor_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace tessera::model::deepseek_v4 {
namespace {

using checkpoint::Checkpoint;
using checkpoint::Tensor;
using Pair = std::pair<std::string_view, std::string_view>;  // transformers', published

// Of the whole model.
constexpr Pair kTop[] = {
    {"embed_tokens.weight", "embed.weight"}, {"lm_head.weight", "head.weight"},
    {"hc_head.hc_fn", "hc_head_fn"},         {"hc_head.hc_base", "hc_head_base"},
    {"hc_head.hc_scale", "hc_head_scale"},
};
// Beginnings of what follows "layers.N.".
constexpr Pair kParts[] = {
    {"input_layernorm.", "attn_norm."},
    {"post_attention_layernorm.", "ffn_norm."},
    {"attn_hc.", "hc_attn_"},
    {"ffn_hc.", "hc_ffn_"},
    {"self_attn.", "attn."},
    {"mlp.", "ffn."},
};
// Beginnings of what follows "attn."; longer ones first.
constexpr Pair kAttention[] = {
    {"compressor.indexer.kv_norm.", "indexer.compressor.norm."},
    {"compressor.indexer.position_bias", "indexer.compressor.ape"},
    {"compressor.indexer.kv_proj.", "indexer.compressor.wkv."},
    {"compressor.indexer.gate_proj.", "indexer.compressor.wgate."},
    {"compressor.indexer.q_b_proj.", "indexer.wq_b."},
    {"compressor.indexer.scorer.weights_proj.", "indexer.weights_proj."},
    {"compressor.indexer.weights_proj.", "indexer.weights_proj."},
    {"compressor.kv_norm.", "compressor.norm."},
    {"compressor.position_bias", "compressor.ape"},
    {"compressor.kv_proj.", "compressor.wkv."},
    {"compressor.gate_proj.", "compressor.wgate."},
    {"sinks", "attn_sink"},
    {"q_a_norm.", "q_norm."},
    {"q_a_proj.", "wq_a."},
    {"q_b_proj.", "wq_b."},
    {"kv_proj.", "wkv."},
    {"o_a_proj.", "wo_a."},
    {"o_b_proj.", "wo_b."},
};
// Of one expert.
constexpr Pair kExpert[] = {{"gate_proj.", "w1."}, {"down_proj.", "w2."}, {"up_proj.", "w3."}};

template <size_t N>
std::string replaced(std::string_view name, const Pair (&pairs)[N]) {
  for (const auto& [from, to] : pairs)
    if (name.starts_with(from)) return std::string(to) + std::string(name.substr(from.size()));
  return std::string(name);
}

/// "3.rest" after "layers." as its number and the rest.
std::pair<std::string_view, std::string_view> split(std::string_view text) {
  const size_t dot = text.find('.');
  if (dot == text.npos) return {text, {}};
  return {text.substr(0, dot + 1), text.substr(dot + 1)};
}

/// What follows "ffn.".
std::string feed_forward_name(std::string_view name) {
  constexpr std::string_view kShared = "shared_experts.", kExperts = "experts.";
  if (name == "gate.e_score_correction_bias") return "gate.bias";
  if (name.starts_with(kShared))
    return std::string(kShared) + replaced(name.substr(kShared.size()), kExpert);
  if (!name.starts_with(kExperts)) return std::string(name);
  const auto [number, rest] = split(name.substr(kExperts.size()));
  return fmt::format("{}{}{}", kExperts, number, replaced(rest, kExpert));
}

/// What follows "layers.N.".
std::string layer_name(std::string_view name) {
  const std::string part = replaced(name, kParts);
  const std::string_view rest = part;
  if (rest.starts_with("attn.")) return "attn." + replaced(rest.substr(5), kAttention);
  if (rest.starts_with("ffn.")) return "ffn." + feed_forward_name(rest.substr(4));
  return part;
}

/// Tensor [E, R, ..] as E * parts tensors of R / parts rows.
void cut(const Tensor& stack, std::string_view prefix, std::span<const std::string_view> parts,
         std::string_view ending, std::vector<Tensor>& into) {
  const int64_t experts = stack.shape[0], rows = stack.shape[1] / std::ssize(parts);
  const Shape shape{rows, stack.shape[2]};
  const size_t bytes = stack.data.size() / static_cast<size_t>(experts) / parts.size();
  for (int64_t e = 0; e < experts; ++e)
    for (size_t p = 0; p < parts.size(); ++p)
      into.push_back(
          {fmt::format("{}experts.{}.{}.{}", prefix, e, parts[p], ending), stack.dtype, shape,
           stack.data.subspan((static_cast<size_t>(e) * parts.size() + p) * bytes, bytes),
           stack.shard});
}

}  // namespace

std::string published_name(std::string_view name) {
  constexpr std::string_view kModel = "model.", kLayers = "layers.", kScale = ".weight_scale_inv";
  if (name.starts_with(kModel)) name.remove_prefix(kModel.size());
  std::string made = replaced(name, kTop);
  if (name.starts_with(kLayers)) {
    const auto [number, rest] = split(name.substr(kLayers.size()));
    made = fmt::format("{}{}{}", kLayers, number, layer_name(rest));
  }
  if (made.ends_with(kScale)) made.replace(made.size() - kScale.size(), kScale.size(), ".scale");
  return made;
}

std::vector<Tensor> published_tensors(const Tensor& tensor) {
  static constexpr std::array<std::string_view, 2> kGateUp = {"w1", "w3"};
  static constexpr std::array<std::string_view, 1> kDown = {"w2"};
  std::vector<Tensor> made;
  Tensor renamed = tensor;
  renamed.name = published_name(tensor.name);
  const std::string_view name = renamed.name;
  const bool is_stack = tensor.shape.rank() == 3 && tensor.shape[0] > 0;
  for (const auto& [ending, published] :
       {Pair{"", "weight"}, {"_scale_inv", "scale"}, {".weight", "weight"}, {".scale", "scale"}})
    for (const auto& [word, parts] :
         {std::pair{std::string("experts.gate_up_proj"),
                    std::span<const std::string_view>(kGateUp)},
          {std::string("experts.down_proj"), std::span<const std::string_view>(kDown)}}) {
      const std::string end = word + std::string(ending);
      if (!is_stack || !name.ends_with(end) || tensor.shape[1] % std::ssize(parts) != 0) continue;
      cut(tensor, name.substr(0, name.size() - end.size()), parts, published, made);
      return made;
    }
  made.push_back(std::move(renamed));
  return made;
}

Result<Checkpoint> open_checkpoint(const std::filesystem::path& path, const Shards& shards) {
  TESSERA_ASSIGN(Checkpoint opened, Checkpoint::open(path, [&](std::string_view name) {
                   return !shards.is_elsewhere(published_name(name));
                 }));
  const bool is_published = std::ranges::none_of(opened.tensors(), [](const Tensor& tensor) {
    return tensor.name.starts_with("model.") || tensor.name == kTop[0].first;
  });
  if (!is_published) TESSERA_TRY(opened.rename(published_tensors).context(path.string()));
  return opened;
}

}  // namespace tessera::model::deepseek_v4
