// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/communication_plan.h"

#include <algorithm>
#include <cmath>

namespace tessera::model::deepseek_v4 {
namespace {

/// Ranks with an expert of a token that is not of them, on average.
double ranks_met(const Config& config, int64_t ranks) {
  double met = 0;
  for (int64_t r = 0; r < ranks; ++r) {
    const auto elsewhere =
        static_cast<double>(config.experts - expert_share(config, {r, ranks}).count());
    double misses = 1;  // drawing without putting back
    for (int64_t j = 0; j < config.experts_per_token; ++j)
      misses *= std::max(0.0, elsewhere - static_cast<double>(j)) /
                static_cast<double>(config.experts - j);
    met += 1 - misses;
  }
  return met * static_cast<double>(ranks - 1) / static_cast<double>(ranks);
}

}  // namespace

LayerTraffic layer_traffic(const Config& config, Rank rank, const RowForm& form) {
  LayerTraffic sent;
  if (rank.count == 1) return sent;
  constexpr double kF32 = 4;
  const auto others = [](int64_t ranks) {
    return static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  };
  const auto width = static_cast<double>(config.hidden_size);
  const int64_t of_group = ranks_per_group(config, rank.count);
  sent.o_group = others(of_group) * static_cast<double>(config.o_lora_rank) * kF32;
  const double part = others(rank.count) * width * kF32;  // of a sum that is scattered
  if (rank.experts == ExpertExchange::all_reduce) {
    sent.attention = sent.experts = 2 * part;
    return sent;
  }
  sent.attention = part;
  const double codes = width + std::ceil(width / static_cast<double>(Config::kFp8Block));
  const double plain = width * static_cast<double>(form.activation_bytes);
  const auto uncompressed = static_cast<double>(
      std::ranges::count_if(config.layers, [](const auto& layer) { return layer.ratio == 0; }));
  const double share = uncompressed / static_cast<double>(config.layers.size());
  sent.gather = others(rank.count) * (form.has_codes ? share * codes + (1 - share) * plain : plain);
  const double routes =
      others(rank.count) * static_cast<double>(config.experts_per_token) * 2 * kF32;
  const double away = ranks_met(config, rank.count) / static_cast<double>(rank.count);
  sent.experts = routes + away * ((form.has_codes ? codes : plain) + width * kF32);
  return sent;
}

}  // namespace tessera::model::deepseek_v4
