// SPDX-License-Identifier: Apache-2.0
// The ranks a model is spread over, seen from one of them, and the communicators its layers use.
#pragma once

#include <memory>

#include "tessera/comm/communicator.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/sharding.h"

namespace tessera::model::deepseek_v4 {

/// Communicators are absent while a model is planned only.
struct Ranks {
  Rank rank;
  comm::Communicator* world = nullptr;
  comm::Communicator* group = nullptr;         // ranks of this o-group, where several share one
  comm::Communicator* output_block = nullptr;  // of these, who share its block of 128 outputs
  comm::Communicator* width_block = nullptr;   // who share a block of the shared expert's width
  /// Ranks round differently (chip, instruction set, tuning): what is chosen (experts, entries) is
  /// chosen by rank 0.
  bool differ = false;

  bool several() const { return rank.count > 1; }
};

/// Whether a scale block of the outputs of an o-group, or of the shared expert's width, lies on
/// several ranks.
bool splits_output_blocks(const Config& config, int64_t ranks);
bool splits_width_blocks(const Config& config, Rank rank);

/// Splits the communicator of a job into those of a model; every rank calls it.
class RankGroups {
 public:
  /// `world` outlives the groups. Error: a number of ranks that cannot share this model.
  static Result<RankGroups> make(const Config& config, comm::Communicator& world,
                                 ExpertExchange experts, bool differ);

  const Ranks& ranks() const { return ranks_; }

 private:
  Ranks ranks_;
  std::unique_ptr<comm::Communicator> group_, output_block_, width_block_;
};

}  // namespace tessera::model::deepseek_v4
