// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/weight_table.h"

#include <fmt/format.h>

#include <iterator>
#include <span>

namespace tessera::model::deepseek_v4 {
namespace {

using Kind = WeightKind;
using C = const Config&;

/// Which blocks have a row. A block is a layer of the trunk or a draft layer.
enum class Where : uint8_t {
  model,  // once, outside blocks
  block,
  hashed,        // routed by token id
  scored,        // routed by score
  indexed,       // ratio 4
  compressed,    // ratio 4 or 128
  draft,         // of Flash and Pro
  dspark_first,  // of 0731
  dspark_last,
};

/// How a row is stored. linear and expert (one for every expert): as the config says. FP8 is
/// NAME.weight f8e4m3 and NAME.scale f8e8m0, one for 128x128; FP4 is NAME.weight i8 (two a byte)
/// and NAME.scale, one for 32 inputs; INT8 is NAME.weight i8 and NAME.scale f32, one for a row.
enum class Stored : uint8_t { bf16, f32, i64, linear, expert };

struct Row {
  Where where;
  std::string_view name;  // E: the expert's number
  Stored stored;
  Shape (*shape)(C c, int ratio);  // logical [out, in]
  Kind kind;
  Sharing sharing = Sharing::replicated;
};

/// Values a compressor makes for one entry: with ratio 4 windows overlap, and each has two roles.
int64_t compressor_width(int64_t head_dim, int ratio) {
  return ratio == 4 ? 2 * head_dim : head_dim;
}

constexpr int64_t kMix = Config::kStreams * (Config::kStreams + 2);  // pre, post and combination

// clang-format off
const Row kTable[] = {
  {Where::model, "embed.weight", Stored::bf16, [](C c, int) { return Shape{c.vocab_size, c.hidden_size}; }, Kind::embedding, Sharing::vocabulary},
  {Where::model, "head.weight", Stored::bf16, [](C c, int) { return Shape{c.vocab_size, c.hidden_size}; }, Kind::output_head, Sharing::vocabulary},
  {Where::model, "norm.weight", Stored::bf16, [](C c, int) { return Shape{c.hidden_size}; }, Kind::norm},
  {Where::model, "hc_head_fn", Stored::f32, [](C c, int) { return Shape{c.kStreams, c.kStreams * c.hidden_size}; }, Kind::hyper_connection},
  {Where::model, "hc_head_base", Stored::f32, [](C c, int) { return Shape{c.kStreams}; }, Kind::hyper_connection},
  {Where::model, "hc_head_scale", Stored::f32, [](C, int) { return Shape{1}; }, Kind::hyper_connection},

  {Where::block, "attn.attn_sink", Stored::f32, [](C c, int) { return Shape{c.heads}; }, Kind::attention, Sharing::heads},
  {Where::block, "attn.wq_a", Stored::linear, [](C c, int) { return Shape{c.q_lora_rank, c.hidden_size}; }, Kind::attention},
  {Where::block, "attn.q_norm.weight", Stored::bf16, [](C c, int) { return Shape{c.q_lora_rank}; }, Kind::norm},
  {Where::block, "attn.wq_b", Stored::linear, [](C c, int) { return Shape{c.heads * c.head_dim, c.q_lora_rank}; }, Kind::attention, Sharing::heads},
  {Where::block, "attn.wkv", Stored::linear, [](C c, int) { return Shape{c.head_dim, c.hidden_size}; }, Kind::attention},
  {Where::block, "attn.kv_norm.weight", Stored::bf16, [](C c, int) { return Shape{c.head_dim}; }, Kind::norm},
  {Where::block, "attn.wo_a", Stored::linear, [](C c, int) { return Shape{c.o_groups * c.o_lora_rank, c.heads_per_group() * c.head_dim}; }, Kind::attention, Sharing::head_inputs},
  {Where::block, "attn.wo_b", Stored::linear, [](C c, int) { return Shape{c.hidden_size, c.o_groups * c.o_lora_rank}; }, Kind::attention, Sharing::group_outputs},
  {Where::block, "attn_norm.weight", Stored::bf16, [](C c, int) { return Shape{c.hidden_size}; }, Kind::norm},
  {Where::block, "ffn_norm.weight", Stored::bf16, [](C c, int) { return Shape{c.hidden_size}; }, Kind::norm},
  {Where::block, "hc_attn_fn", Stored::f32, [](C c, int) { return Shape{kMix, c.kStreams * c.hidden_size}; }, Kind::hyper_connection},
  {Where::block, "hc_attn_base", Stored::f32, [](C, int) { return Shape{kMix}; }, Kind::hyper_connection},
  {Where::block, "hc_attn_scale", Stored::f32, [](C, int) { return Shape{3}; }, Kind::hyper_connection},
  {Where::block, "hc_ffn_fn", Stored::f32, [](C c, int) { return Shape{kMix, c.kStreams * c.hidden_size}; }, Kind::hyper_connection},
  {Where::block, "hc_ffn_base", Stored::f32, [](C, int) { return Shape{kMix}; }, Kind::hyper_connection},
  {Where::block, "hc_ffn_scale", Stored::f32, [](C, int) { return Shape{3}; }, Kind::hyper_connection},

  {Where::compressed, "attn.compressor.ape", Stored::f32, [](C c, int r) { return Shape{r, compressor_width(c.head_dim, r)}; }, Kind::compressor},
  {Where::compressed, "attn.compressor.wkv.weight", Stored::bf16, [](C c, int r) { return Shape{compressor_width(c.head_dim, r), c.hidden_size}; }, Kind::compressor},
  {Where::compressed, "attn.compressor.wgate.weight", Stored::bf16, [](C c, int r) { return Shape{compressor_width(c.head_dim, r), c.hidden_size}; }, Kind::compressor},
  {Where::compressed, "attn.compressor.norm.weight", Stored::bf16, [](C c, int) { return Shape{c.head_dim}; }, Kind::compressor},
  {Where::indexed, "attn.indexer.wq_b", Stored::linear, [](C c, int) { return Shape{c.index_heads * c.index_head_dim, c.q_lora_rank}; }, Kind::indexer, Sharing::index_heads},
  {Where::indexed, "attn.indexer.weights_proj.weight", Stored::bf16, [](C c, int) { return Shape{c.index_heads, c.hidden_size}; }, Kind::indexer, Sharing::index_heads},
  {Where::indexed, "attn.indexer.compressor.ape", Stored::f32, [](C c, int r) { return Shape{r, compressor_width(c.index_head_dim, r)}; }, Kind::indexer},
  {Where::indexed, "attn.indexer.compressor.wkv.weight", Stored::bf16, [](C c, int r) { return Shape{compressor_width(c.index_head_dim, r), c.hidden_size}; }, Kind::indexer},
  {Where::indexed, "attn.indexer.compressor.wgate.weight", Stored::bf16, [](C c, int r) { return Shape{compressor_width(c.index_head_dim, r), c.hidden_size}; }, Kind::indexer},
  {Where::indexed, "attn.indexer.compressor.norm.weight", Stored::bf16, [](C c, int) { return Shape{c.index_head_dim}; }, Kind::indexer},

  {Where::block, "ffn.gate.weight", Stored::bf16, [](C c, int) { return Shape{c.experts, c.hidden_size}; }, Kind::router},
  {Where::scored, "ffn.gate.bias", Stored::f32, [](C c, int) { return Shape{c.experts}; }, Kind::router},
  {Where::hashed, "ffn.gate.tid2eid", Stored::i64, [](C c, int) { return Shape{c.vocab_size, c.experts_per_token}; }, Kind::router},
  {Where::block, "ffn.shared_experts.w1", Stored::linear, [](C c, int) { return Shape{c.expert_width, c.hidden_size}; }, Kind::shared_expert, Sharing::width_rows},
  {Where::block, "ffn.shared_experts.w2", Stored::linear, [](C c, int) { return Shape{c.hidden_size, c.expert_width}; }, Kind::shared_expert, Sharing::width_columns},
  {Where::block, "ffn.shared_experts.w3", Stored::linear, [](C c, int) { return Shape{c.expert_width, c.hidden_size}; }, Kind::shared_expert, Sharing::width_rows},
  {Where::block, "ffn.experts.E.w1", Stored::expert, [](C c, int) { return Shape{c.expert_width, c.hidden_size}; }, Kind::routed_expert, Sharing::experts},
  {Where::block, "ffn.experts.E.w2", Stored::expert, [](C c, int) { return Shape{c.hidden_size, c.expert_width}; }, Kind::routed_expert, Sharing::experts},
  {Where::block, "ffn.experts.E.w3", Stored::expert, [](C c, int) { return Shape{c.expert_width, c.hidden_size}; }, Kind::routed_expert, Sharing::experts},

  {Where::draft, "e_proj", Stored::linear, [](C c, int) { return Shape{c.hidden_size, c.hidden_size}; }, Kind::draft},
  {Where::draft, "h_proj", Stored::linear, [](C c, int) { return Shape{c.hidden_size, c.hidden_size}; }, Kind::draft},
  {Where::draft, "enorm.weight", Stored::bf16, [](C c, int) { return Shape{c.hidden_size}; }, Kind::draft},
  {Where::draft, "hnorm.weight", Stored::bf16, [](C c, int) { return Shape{c.hidden_size}; }, Kind::draft},
  {Where::draft, "norm.weight", Stored::bf16, [](C c, int) { return Shape{c.hidden_size}; }, Kind::draft},
  {Where::draft, "hc_head_fn", Stored::f32, [](C c, int) { return Shape{c.kStreams, c.kStreams * c.hidden_size}; }, Kind::draft},
  {Where::draft, "hc_head_base", Stored::f32, [](C c, int) { return Shape{c.kStreams}; }, Kind::draft},
  {Where::draft, "hc_head_scale", Stored::f32, [](C, int) { return Shape{1}; }, Kind::draft},

  {Where::dspark_first, "main_proj", Stored::linear, [](C c, int) { return Shape{c.hidden_size, static_cast<int64_t>(c.dspark->target_layers.size()) * c.hidden_size}; }, Kind::draft},
  {Where::dspark_first, "main_norm.weight", Stored::bf16, [](C c, int) { return Shape{c.hidden_size}; }, Kind::draft},
  {Where::dspark_last, "norm.weight", Stored::bf16, [](C c, int) { return Shape{c.hidden_size}; }, Kind::draft},
  {Where::dspark_last, "hc_head_fn", Stored::f32, [](C c, int) { return Shape{c.kStreams, c.kStreams * c.hidden_size}; }, Kind::draft},
  {Where::dspark_last, "hc_head_base", Stored::f32, [](C c, int) { return Shape{c.kStreams}; }, Kind::draft},
  {Where::dspark_last, "hc_head_scale", Stored::f32, [](C, int) { return Shape{1}; }, Kind::draft},
  {Where::dspark_last, "markov_head.markov_w1.weight", Stored::bf16, [](C c, int) { return Shape{c.vocab_size, c.dspark->markov_rank}; }, Kind::draft},
  {Where::dspark_last, "markov_head.markov_w2.weight", Stored::bf16, [](C c, int) { return Shape{c.vocab_size, c.dspark->markov_rank}; }, Kind::draft},
  {Where::dspark_last, "confidence_head.proj.weight", Stored::bf16, [](C c, int) { return Shape{1, c.hidden_size + c.dspark->markov_rank}; }, Kind::draft},
};
// clang-format on

struct Block {
  int number;
  bool is_draft;
  Config::Layer layer;
};

bool applies(Where where, const Config& config, const Block& block, int64_t draft_layers) {
  const bool draft = block.is_draft, dspark = config.dspark.has_value();
  switch (where) {
    case Where::model: return false;
    case Where::block: return true;
    case Where::hashed: return block.layer.hash_routed;
    case Where::scored: return !block.layer.hash_routed;
    case Where::indexed: return block.layer.ratio == 4;
    case Where::compressed: return block.layer.ratio != 0;
    case Where::draft: return draft && !dspark;
    case Where::dspark_first: return draft && dspark && block.number == 0;
    case Where::dspark_last: return draft && dspark && block.number == draft_layers - 1;
  }
  return false;
}

int64_t blocks_of(int64_t extent, int64_t block) { return (extent + block - 1) / block; }

class Expansion {
 public:
  explicit Expansion(const Config& config) : config_(config) {}
  std::vector<WeightSpec> weights;

  /// Adds the tensors of a row; `shape` says where it is.
  void add(const Row& row, const std::string& prefix, const Block& block) {
    const Shape shape = row.shape(config_, block.layer.ratio);
    WeightSpec spec{.name = prefix,
                    .dtype = DType::bf16,
                    .shape = shape,
                    .kind = row.kind,
                    .sharing = row.sharing,
                    .is_draft = block.is_draft,
                    .block = block.number};
    if (row.stored != Stored::expert) {
      spec.name += row.name;
      add_stored(row.stored, std::move(spec));
      return;
    }
    const size_t number = row.name.find('E');
    for (int64_t e = 0; e < config_.experts; ++e) {
      WeightSpec expert = spec;
      expert.name +=
          fmt::format("{}{}{}", row.name.substr(0, number), e, row.name.substr(number + 1));
      expert.expert = static_cast<int>(e);
      add_stored(Stored::expert, std::move(expert));
    }
  }

 private:
  void add_stored(Stored stored, WeightSpec spec) {
    if (stored == Stored::linear || stored == Stored::expert) {
      add_matrix(stored == Stored::expert ? config_.expert_dtype : config_.linear_dtype,
                 std::move(spec));
      return;
    }
    spec.dtype = stored == Stored::bf16  ? DType::bf16
                 : stored == Stored::f32 ? DType::f32
                                         : DType::i64;
    weights.push_back(std::move(spec));
  }

  /// `dtype`: of the elements.
  void add_matrix(DType dtype, WeightSpec spec) {
    WeightSpec scale = spec;
    scale.name += ".scale";
    scale.is_scale = true;
    scale.dtype = DType::f8e8m0;
    spec.name += ".weight";
    spec.dtype = dtype;
    switch (dtype) {
      case DType::f4e2m1:
        spec.dtype = DType::i8;
        spec.shape[1] /= 2;
        scale.shape[1] /= Config::kFp4Block;
        break;
      case DType::i8:
        scale.dtype = DType::f32;
        scale.shape = {spec.shape[0]};
        break;
      case DType::f8e4m3:
        for (int i = 0; i < 2; ++i) scale.shape[i] = blocks_of(scale.shape[i], Config::kFp8Block);
        break;
      default: break;
    }
    weights.push_back(std::move(spec));
    if (dtype != DType::bf16) weights.push_back(std::move(scale));
  }

  const Config& config_;
};

}  // namespace

std::string_view name(WeightKind kind) {
  static constexpr std::array<std::string_view, kWeightKinds> kNames = {
      "embedding",        "output head", "norms",          "attention",      "compressors",
      "indexers",         "routers",     "shared experts", "routed experts", "hyper-connections",
      "draft projections"};
  return kNames[static_cast<size_t>(kind)];
}

std::vector<WeightSpec> expand_weights(const Config& config, int64_t draft_layers) {
  Expansion all(config);
  for (const Row& row : kTable)
    if (row.where == Where::model) all.add(row, "", {.number = -1, .is_draft = false, .layer = {}});
  const auto add_block = [&](const Block& block) {
    const std::string prefix =
        fmt::format("{}.{}.", block.is_draft ? "mtp" : "layers", block.number);
    for (const Row& row : kTable)
      if (applies(row.where, config, block, draft_layers)) all.add(row, prefix, block);
  };
  for (size_t i = 0; i < config.layers.size(); ++i)
    add_block({static_cast<int>(i), false, config.layers[i]});
  for (int i = 0; i < draft_layers; ++i) add_block({i, true, {}});
  return std::move(all.weights);
}

}  // namespace tessera::model::deepseek_v4
