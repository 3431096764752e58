// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/ranks.h"

namespace tessera::model::deepseek_v4 {

bool splits_output_blocks(const Config& config, int64_t ranks) {
  return ranks_per_group(config, ranks) > 1 &&
         group_output_share(config, {0, ranks}).count() % Config::kFp8Block != 0;
}

bool splits_width_blocks(const Config& config, Rank rank) {
  for (int64_t r = 0; r < rank.count; ++r) {
    const Share own = width_share(config, {r, rank.count, rank.experts});
    if (own.begin % Config::kFp8Block != 0 ||
        (own.end % Config::kFp8Block != 0 && own.end != config.expert_width))
      return true;
  }
  return false;
}

Result<RankGroups> RankGroups::make(const Config& config, comm::Communicator& world,
                                    ExpertExchange experts, bool differ) {
  const Rank rank{world.rank(), world.size(), experts};
  TESSERA_TRY(check_ranks(config, rank.count));
  RankGroups made;
  made.ranks_ = {.rank = rank, .world = &world, .differ = differ};
  const auto split = [&](std::unique_ptr<comm::Communicator>& part, comm::Communicator*& seen,
                         int64_t color) -> Result<> {
    TESSERA_ASSIGN(part, world.split(static_cast<int>(color), world.rank()));
    seen = part.get();
    return {};
  };
  if (const int64_t of_group = ranks_per_group(config, rank.count); of_group > 1)
    TESSERA_TRY(split(made.group_, made.ranks_.group, rank.number / of_group));
  if (splits_output_blocks(config, rank.count))
    TESSERA_TRY(split(made.output_block_, made.ranks_.output_block,
                      group_output_share(config, rank).begin / Config::kFp8Block));
  if (splits_width_blocks(config, rank)) {
    const Share own = width_share(config, rank);
    // A rank without any of it is alone, in a color nobody else has.
    const int64_t color =
        own.count() > 0 ? own.begin / Config::kFp8Block : config.expert_width + rank.number;
    TESSERA_TRY(split(made.width_block_, made.ranks_.width_block, color));
  }
  return made;
}

}  // namespace tessera::model::deepseek_v4
