// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/rank_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tessera/cli/number_text.h"

namespace tessera::cli {
namespace {

using model::deepseek_v4::ExpertExchange;
using model::deepseek_v4::name;

uint64_t weights_of(const RankChoice& choice) { return choice.plan.mapped + choice.plan.copied; }

}  // namespace

const RankChoice* recommended(const std::vector<RankChoice>& all, int64_t sequences) {
  const auto first = std::ranges::find_if(all, &RankChoice::fits);
  if (first == all.end()) return nullptr;
  const auto exchanged = std::ranges::find_if(all, [&](const RankChoice& choice) {
    return choice.fits && choice.rank.count == first->rank.count &&
           choice.rank.experts == ExpertExchange::all_to_all;
  });
  return exchanged != all.end() && sequences >= first->rank.count ? &*exchanged : &*first;
}

void print_choices(const std::vector<RankChoice>& all, const RankChoice* best, int64_t devices,
                   uint64_t memory) {
  const auto size = [](uint64_t bytes) { return size_text(static_cast<double>(bytes)); };
  fmt::print(
      "\n{} devices of {}, bytes of one rank and what it sends for a token and layer:\n"
      "{:>5} {:<10} {:>12} {:>12} {:>12} {:>9}\n",
      devices, size(memory), "ranks", "experts", "weights", "working", "all", "sent");
  for (const RankChoice& choice : all) {
    const uint64_t weights = weights_of(choice);
    fmt::print("{:>5} {:<10} {:>12} {:>12} {:>12} {:>9}  {}\n", choice.rank.count,
               name(choice.rank.experts), size(weights), size(choice.plan.all() - weights),
               size(choice.plan.all()), size_text(choice.sent.all()), choice.fits ? "fits" : "");
  }
  if (!best) {
    fmt::print("best: none fits\n");
    return;
  }
  const int64_t copies = devices / best->rank.count;
  fmt::print("best: --tp {}{}{}\n", best->rank.count,
             best->rank.experts == ExpertExchange::all_to_all ? " --experts all-to-all" : "",
             copies > 1 ? fmt::format(", {} copies of the model", copies) : "");
}

nlohmann::json choices_json(const std::vector<RankChoice>& all) {
  nlohmann::json list = nlohmann::json::array();
  for (const RankChoice& choice : all)
    list.push_back({{"ranks", choice.rank.count},
                    {"experts", name(choice.rank.experts)},
                    {"weights", weights_of(choice)},
                    {"all", choice.plan.all()},
                    {"sent", choice.sent.all()},
                    {"fits", choice.fits}});
  return list;
}

}  // namespace tessera::cli
