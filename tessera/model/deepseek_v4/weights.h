// SPDX-License-Identifier: Apache-2.0
// The weights of a model as operators take them: descriptions and device addresses. Nothing is
// copied where the device reads host memory: a tensor is where the checkpoint maps it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/sharding.h"
#include "tessera/model/deepseek_v4/weight_source.h"

namespace tessera::model::deepseek_v4 {

/// [N, K] in e4m3 with e8m0 scales of 128 x 128, or in bf16 without.
struct LinearWeights {
  DeviceTensor w, scale;
};

/// Matrices [E, N, K] of the rank's experts, wherever each lies: expert e begins `offsets[e]` bytes
/// after the address of w, or elements where those are more than a byte. e2m1 with scales of 1 x
/// 32, e4m3 with scales of 128 x 128, i8 with f32 scales of a row, or bf16. Absent where the rank
/// has none.
struct ExpertStack {
  DeviceTensor w, scale;
  DeviceTensor offsets, scale_offsets;  // i64 [E]
};

struct HyperWeights {
  DeviceTensor fn, base, scale;  // f32
};

struct CompressorWeights {
  DeviceTensor ape, wkv, wgate, norm;
};

struct IndexerWeights {
  LinearWeights wq_b;
  DeviceTensor weights_proj;
  CompressorWeights compressor;
};

struct AttentionWeights {
  LinearWeights wq_a, wq_b, wkv;
  DeviceTensor q_norm, kv_norm, sink;
  LinearWeights wo_a;            // [groups, o_lora_rank, width of a group's heads]
  LinearWeights wo_b;            // [D, groups * o_lora_rank]
  CompressorWeights compressor;  // absent tensors in layers of ratio 0
  IndexerWeights indexer;        // in layers of ratio 4
};

struct MoeWeights {
  DeviceTensor gate;
  DeviceTensor bias;     // of routers by score
  DeviceTensor tid2eid;  // of routers by token id: i64 [V, chosen]
  ExpertStack w1, w2, w3;
  LinearWeights shared_w1, shared_w2, shared_w3;
};

struct LayerWeights {
  HyperWeights attention_mix, moe_mix;
  DeviceTensor attention_norm, moe_norm;
  AttentionWeights attention;
  MoeWeights moe;
};

struct HeadWeights {
  HyperWeights mix;
  DeviceTensor norm, projection;
};

/// The block that drafts the token after the next (multi-token prediction).
struct DraftWeights {
  LinearWeights e_proj, h_proj;
  DeviceTensor e_norm, h_norm;
  LayerWeights layer;
  HeadWeights head;
};

struct Weights {
  DeviceTensor embedding;
  std::vector<LayerWeights> layers;
  HeadWeights head;
  std::optional<DraftWeights> draft;
};

/// Takes every tensor of `rank` that the configuration names from `source`; the draft block where
/// `with_draft`.
Result<Weights> assemble_weights(const Config& config, WeightSource& source, bool with_draft,
                                 Rank rank = {});

}  // namespace tessera::model::deepseek_v4
