// SPDX-License-Identifier: Apache-2.0
// Tensors go by two dialects of names: the published checkpoints' ("layers.3.attn.wq_a.weight") and
// those of transformers' modules ("model.layers.3.self_attn.q_a_proj.weight"). This program knows
// the former; a checkpoint in the latter is read as if it had them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tessera/model/deepseek_v4/sharding.h"

namespace tessera::model::deepseek_v4 {

/// The published name; a name that belongs to neither dialect stays.
std::string published_name(std::string_view name);

/// What a tensor is in the published dialect: itself under its name, or, where transformers stacks
/// the experts of a layer (gate_up_proj [E, 2 I, D], down_proj [E, D, I] and their scales), the
/// matrices of single experts, which are parts of its bytes.
std::vector<checkpoint::Tensor> published_tensors(const checkpoint::Tensor& tensor);

/// Checkpoint::open for either dialect; files with nothing but experts of other ranks may be
/// absent. Error: corrupt where two tensors get the same name.
Result<checkpoint::Checkpoint> open_checkpoint(const std::filesystem::path& path,
                                               const Shards& shards = {});

}  // namespace tessera::model::deepseek_v4
