// SPDX-License-Identifier: Apache-2.0
// Every tensor of a DeepSeek-V4 checkpoint: name, dtype, shape, what it is for and how ranks share
// it. One table (weight_table.cc) that loading, conversion, sharding and planning expand.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/dtype.h"
#include "tessera/base/shape.h"
#include "tessera/model/deepseek_v4/config.h"

namespace tessera::model::deepseek_v4 {

enum class WeightKind : uint8_t {
  embedding,
  output_head,
  norm,
  attention,
  compressor,
  indexer,
  router,
  shared_expert,
  routed_expert,
  hyper_connection,
  draft,  // what only draft layers have; their blocks count as the kinds above
};
inline constexpr int kWeightKinds = 11;
/// "routed experts", ...
std::string_view name(WeightKind kind);

/// How tensor-parallel ranks share a matrix [out, in]; its scales follow it.
enum class Sharing : uint8_t {
  replicated,
  vocabulary,     // rows, by token
  heads,          // rows (or elements), by query head
  head_inputs,    // wo_a: rows of the rank's o-groups, columns of its heads inside the group
  group_outputs,  // wo_b: columns, the rank's part of its o-groups' outputs
  index_heads,    // rows, by indexer head
  experts,        // whole experts
  width_rows,     // of the shared expert: rows of w1 and w3
  width_columns,  // columns of w2
};

struct WeightSpec {
  std::string name;  // "layers.3.attn.wq_a.weight"
  DType dtype;       // as stored: packed FP4 is i8
  Shape shape;       // as stored
  WeightKind kind;
  Sharing sharing;
  bool is_scale = false;
  bool is_draft = false;  // of a block mtp.N
  int block = -1;         // layer, or draft layer; -1: of the whole model
  int expert = -1;

  uint64_t bytes() const { return static_cast<uint64_t>(size_in_bytes(dtype, shape.numel())); }
};

/// All tensors of a checkpoint with this many draft layers, block by block.
std::vector<WeightSpec> expand_weights(const Config& config, int64_t draft_layers);

}  // namespace tessera::model::deepseek_v4
