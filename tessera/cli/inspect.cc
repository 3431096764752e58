// SPDX-License-Identifier: Apache-2.0
// What a checkpoint holds, held against what its config asks for.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "tessera/checkpoint/checkpoint.h"
#include "tessera/checkpoint/safetensors_header.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/session.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/scale_check.h"
#include "tessera/model/deepseek_v4/tensor_names.h"
#include "tessera/model/deepseek_v4/weight_match.h"

namespace tessera::cli {
namespace {

using namespace model::deepseek_v4;
using checkpoint::Checkpoint;
using nlohmann::json;
using Fault = WeightMatch::Fault;
using Amount = WeightMatch::Amount;

struct Inspection {
  std::string folder;
  Config config;
  Checkpoint checkpoint;
  WeightMatch match;
  std::map<std::string_view, int64_t> dtypes;
  std::optional<ScaleCheck> scales;

  Amount draft() const {
    Amount all;
    for (const Amount& amount : match.draft) {
      all.tensors += amount.tensors;
      all.bytes += amount.bytes;
    }
    return all;
  }
  bool sound() const {
    return match.check(WeightMatch::Part::trunk).ok() && (!scales || scales->found.empty()) &&
           checkpoint.declared_bytes().value_or(checkpoint.tensor_bytes()) ==
               checkpoint.tensor_bytes();
  }
};

constexpr std::pair<Fault, std::string_view> kFaults[] = {{Fault::missing, "missing"},
                                                          {Fault::misshapen, "misshapen"},
                                                          {Fault::wrong_dtype, "wrong dtype"},
                                                          {Fault::surplus, "surplus"}};

/// How many layers have each schedule.
json layer_counts(const Config& config) {
  std::map<int, int64_t> ratios;
  int64_t hashed = 0;
  for (const Config::Layer& layer : config.layers) {
    ++ratios[layer.ratio];
    hashed += layer.hash_routed ? 1 : 0;
  }
  return {{"all", config.layers.size()},
          {"window", ratios[0]},
          {"ratio_4", ratios[4]},
          {"ratio_128", ratios[128]},
          {"hash_routed", hashed}};
}

std::string draft_text(const Config& config, int64_t layers) {
  if (layers == 0) return "none";
  const std::string blocks = layers == 1 ? "mtp.0" : fmt::format("mtp.0 to mtp.{}", layers - 1);
  return fmt::format("{} ({})", blocks, config.dspark ? "DSpark, not used" : "MTP");
}

json to_json(const Inspection& all) {
  const Config& c = all.config;
  json result = {{"folder", all.folder},
                 {"architecture",
                  {{"model", "deepseek_v4"},
                   {"layers", layer_counts(c)},
                   {"hidden_size", c.hidden_size},
                   {"vocab_size", c.vocab_size},
                   {"heads", c.heads},
                   {"head_dim", c.head_dim},
                   {"o_groups", c.o_groups},
                   {"experts", c.experts},
                   {"experts_per_token", c.experts_per_token},
                   {"expert_dtype", name(c.expert_dtype)},
                   {"max_positions", c.max_positions}}},
                 {"files", all.checkpoint.shards().size()},
                 {"tensors", all.checkpoint.tensors().size()},
                 {"bytes", all.checkpoint.tensor_bytes()},
                 {"dtypes", all.dtypes},
                 {"draft",
                  {{"layers", all.match.draft_layers},
                   {"tensors", all.draft().tensors},
                   {"bytes", all.draft().bytes},
                   {"used", all.match.draft_layers > 0 && !c.dspark}}},
                 {"sound", all.sound()}};
  if (all.checkpoint.declared_bytes()) result["declared_bytes"] = *all.checkpoint.declared_bytes();
  json& kinds = result["kinds"] = json::array();
  for (int i = 0; i < kWeightKinds; ++i)
    if (const Amount& amount = all.match.trunk[i]; amount.tensors > 0)
      kinds.push_back({{"kind", name(static_cast<WeightKind>(i))},
                       {"tensors", amount.tensors},
                       {"bytes", amount.bytes}});
  for (const auto& [fault, word] : kFaults) {
    json& list = result[fault == Fault::wrong_dtype ? "wrong_dtype" : std::string(word)] =
        json::array();
    for (const auto& problem : all.match.problems)
      if (problem.fault == fault)
        list.push_back({{"name", problem.name}, {"detail", problem.detail}});
  }
  if (all.scales) {
    json& found = result["scales"] = {
        {"tensors", all.scales->tensors}, {"bytes", all.scales->bytes}, {"nan", json::array()}};
    for (const NanScales& scales : all.scales->found)
      found["nan"].push_back({{"name", scales.name},
                              {"count", scales.count},
                              {"row", scales.row},
                              {"column", scales.column}});
  }
  return result;
}

void print_line(std::string_view what, const Amount& amount) {
  fmt::print("  {:<20} {:>9} {:>19} {:>11}\n", what, grouped(amount.tensors), grouped(amount.bytes),
             size_text(static_cast<double>(amount.bytes)));
}

constexpr std::string_view format_name(DType dtype) {
  switch (dtype) {
    case DType::f4e2m1: return "FP4";
    case DType::f8e4m3: return "FP8";
    case DType::i8: return "INT8";
    default: return "BF16";
  }
}

void print_contents(const Inspection& all) {
  const Config& c = all.config;
  const json layers = layer_counts(c);
  fmt::print("{}\n", all.folder);
  fmt::print("DeepSeek-V4: {} layers (window only {}, ratio 4 {}, ratio 128 {}; {} hash-routed)\n",
             c.layers.size(), layers["window"].get<int64_t>(), layers["ratio_4"].get<int64_t>(),
             layers["ratio_128"].get<int64_t>(), layers["hash_routed"].get<int64_t>());
  fmt::print("  hidden {}, {} heads of {} in {} o-groups, vocabulary {}, context {}\n",
             c.hidden_size, c.heads, c.head_dim, c.o_groups, c.vocab_size, c.max_positions);
  fmt::print("  {} experts and a shared one of {}, {} per token, in {}\n", c.experts,
             c.expert_width, c.experts_per_token, format_name(c.expert_dtype));
  fmt::print("  draft head: {}\n\n", draft_text(c, all.match.draft_layers));

  fmt::print("  {:<20} {:>9} {:>19}\n", "kind", "tensors", "bytes");
  for (int i = 0; i < kWeightKinds; ++i)
    if (all.match.trunk[i].tensors > 0)
      print_line(name(static_cast<WeightKind>(i)), all.match.trunk[i]);
  if (all.match.draft_layers > 0) print_line("draft head", all.draft());
  print_line(
      fmt::format("all, in {} file{}", all.checkpoint.shards().size(),
                  all.checkpoint.shards().size() == 1 ? "" : "s"),
      {static_cast<int64_t>(all.checkpoint.tensors().size()), all.checkpoint.tensor_bytes()});
  std::string dtypes;
  for (const auto& [name, count] : all.dtypes) dtypes += fmt::format(" {} {},", name, count);
  dtypes.pop_back();
  fmt::print("  dtypes:{}\n\n", dtypes);
}

void print_verdict(const Inspection& all) {
  constexpr int64_t kShown = 10;
  for (const auto& [fault, word] : kFaults) {
    const int64_t count = all.match.count(fault);
    if (count == 0) continue;
    fmt::print("{} tensor{} {}:\n", grouped(count), count == 1 ? "" : "s", word);
    int64_t shown = 0;
    for (const auto& problem : all.match.problems)
      if (problem.fault == fault && ++shown <= kShown)
        fmt::print("  {} ({}){}\n", problem.name, problem.detail,
                   problem.is_draft ? ", of the draft head" : "");
    if (count > kShown) fmt::print("  .. and {} more; --json lists all\n", grouped(count - kShown));
  }
  int64_t unlisted = 0;
  for (const auto& shard : all.checkpoint.shards()) unlisted += shard.unlisted;
  if (unlisted > 0)
    fmt::print("{} tensors in the files are not in the index and were left out\n",
               grouped(unlisted));
  const auto declared = all.checkpoint.declared_bytes();
  if (declared && *declared != all.checkpoint.tensor_bytes())
    fmt::print("the index says total_size {}, the tensors have {} bytes\n", grouped(*declared),
               grouped(all.checkpoint.tensor_bytes()));
  if (all.scales) {
    fmt::print("scales: {} tensors, {} read, {} with NaN\n", grouped(all.scales->tensors),
               size_text(static_cast<double>(all.scales->bytes)), all.scales->found.size());
    for (const NanScales& scales : all.scales->found)
      fmt::print("  {}: {} NaN, the first at row {}, column {}\n", scales.name, scales.count,
                 scales.row, scales.column);
  }
  const bool usable = all.match.check(WeightMatch::Part::trunk).ok();
  fmt::print("{}\n", !usable ? "not usable: the trunk is incomplete"
                     : all.match.problems.empty()
                         ? "complete: every tensor is there as the config asks"
                         : "usable: the trunk is complete");
}

Result<int> run(const Arguments& arguments, const Program&) {
  const std::string folder = arguments.text("DIR");
  TESSERA_ASSIGN(Config config, load_config(folder));
  TESSERA_ASSIGN(Checkpoint opened, open_checkpoint(folder));
  Inspection all{folder, std::move(config), std::move(opened), {}, {}, {}};
  all.match = match_weights(all.checkpoint, all.config);
  for (const auto& tensor : all.checkpoint.tensors())
    ++all.dtypes[checkpoint::safetensors_name(tensor.dtype)];
  if (arguments.flag("check")) {
    ProgressBar bar;
    all.scales =
        check_scales(all.checkpoint, all.match.weights, [&](uint64_t done, uint64_t total) {
          bar.update("reading scales, MiB", done >> 20, std::max<uint64_t>(1, total >> 20));
        });
  }
  if (arguments.json()) {
    fmt::print("{}\n", to_json(all).dump(1));
  } else {
    print_contents(all);
    print_verdict(all);
  }
  return all.sound() ? 0 : 1;
}

}  // namespace

CommandSpec inspect_command() {
  using Kind = OptionSpec::Kind;
  return {.path = "inspect",
          .summary = "Show what a checkpoint holds and whether it is complete",
          .details =
              "Reads config.json and the headers of the files, no weights. Exit code 1: something "
              "the model needs is missing or wrong.\nExample: tessera inspect DIR --check",
          .positionals = {{"DIR", "Folder of a checkpoint"}},
          .options = {{"--check", Kind::kFlag, "", "Also read every scale and look for NaN"}},
          .run = run};
}

}  // namespace tessera::cli
