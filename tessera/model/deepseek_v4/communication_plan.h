// SPDX-License-Identifier: Apache-2.0
// What ranks send each other, from the sizes alone; Model::traffic() counts what they did send.
#pragma once

#include <cstdint>

#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/sharding.h"

namespace tessera::model::deepseek_v4 {

/// Bytes that a rank sends for a token and layer, averaged over ranks and layers; rows of experts
/// are those of evenly spread routing.
struct LayerTraffic {
  double o_group = 0;    // parts of wo_a's outputs, to the ranks of the group
  double attention = 0;  // the sum after wo_b
  double gather = 0;     // rows for the next attention, where each rank keeps a share
  double experts = 0;    // their sum, or rows to the ranks of experts and back

  double all() const { return o_group + attention + gather + experts; }
};

/// How rows look on the way.
struct RowForm {
  int64_t activation_bytes = 2;  // of an element between operators
  bool has_codes = true;         // products read e4m3 codes with a scale for 128 columns
};

/// Of long steps, if rows are exchanged; steps of fewer rows than ranks send the sums.
LayerTraffic layer_traffic(const Config& config, Rank rank, const RowForm& form);

}  // namespace tessera::model::deepseek_v4
