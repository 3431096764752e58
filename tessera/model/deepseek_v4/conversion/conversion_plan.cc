// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/conversion/conversion_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <system_error>
#include <tuple>

#include "tessera/base/hash.h"
#include "tessera/base/mapped_file.h"
#include "tessera/checkpoint/safetensors_header.h"
#include "tessera/model/deepseek_v4/sharding.h"
#include "tessera/model/deepseek_v4/tensor_names.h"
#include "tessera/model/deepseek_v4/weight_match.h"

namespace tessera::model::deepseek_v4 {
namespace {

namespace fs = std::filesystem;
using checkpoint::Checkpoint;
using checkpoint::Tensor;
using checkpoint::TensorSpec;
using Change = Conversion::Change;

/// Raise it when the same source and options give other files.
constexpr int kLayout = 1;

/// A conversion with the place that its tensors take.
struct Placed {
  Conversion conversion;
  int64_t group = -1;  // rank whose experts these are; -1: every rank's
};

/// The name in the source of a tensor of a model of some of its layers.
std::string source_name(const WeightSpec& weight, const std::optional<LayerRange>& layers) {
  if (!layers || weight.block < 0 || weight.is_draft) return weight.name;
  const size_t number = weight.name.find('.') + 1;
  return fmt::format("layers.{}{}", weight.block + layers->first,
                     weight.name.substr(weight.name.find('.', number)));
}

/// What turns one stored matrix into another. `from` and `to` are types of elements.
Result<Change> change_of(DType from, DType to, std::string_view name) {
  if (from == to) return Change::copy;
  if (from == DType::f4e2m1 && to == DType::bf16) return Change::widen_fp4;
  if (from == DType::f8e4m3 && to == DType::bf16) return Change::widen_fp8;
  if (from == DType::f4e2m1 && to == DType::f8e4m3) return Change::rescale_fp4;
  if (to == DType::i8 && from != DType::i8) return Change::to_int8;
  return unsupported(
      fmt::format("{} is {} in the source: it cannot become {} without loss; convert from a "
                  "checkpoint as published",
                  name, tessera::name(from), tessera::name(to)));
}

class Planner {
 public:
  Planner(const Checkpoint& source, const Config& from, const Config& to,
          const ConversionOptions& options)
      : source_(source), from_(from), to_(to), options_(options) {}

  /// Of all tensors of the converted model that has so many draft layers.
  Result<std::vector<Placed>> place(int64_t draft_layers) {
    std::vector<Placed> all;
    const std::vector<WeightSpec> weights = expand_weights(to_, draft_layers);
    for (size_t i = 0; i < weights.size(); ++i) {
      const bool has_scale = i + 1 < weights.size() && weights[i + 1].is_scale;
      TESSERA_ASSIGN(Placed placed, place(weights[i], has_scale ? &weights[i + 1] : nullptr));
      all.push_back(std::move(placed));
      if (has_scale) ++i;
    }
    return all;
  }

 private:
  Result<Placed> place(const WeightSpec& weight, const WeightSpec* scale) {
    Placed placed;
    Conversion& c = placed.conversion;
    const std::string name = source_name(weight, options_.layers);
    const bool is_expert = weight.expert >= 0;
    c.weight = source_.find(name);
    if (c.weight == nullptr) return not_found(fmt::format("the checkpoint has no tensor {}", name));
    const bool was_matrix = scale != nullptr || c.weight->dtype != weight.dtype;
    if (was_matrix) {
      TESSERA_ASSIGN(c.change, change_of(is_expert ? from_.expert_dtype : from_.linear_dtype,
                                         is_expert ? to_.expert_dtype : to_.linear_dtype, name));
      c.scale = source_.find(name.substr(0, name.rfind('.')) + ".scale");
    }
    c.to = {weight.name, weight.dtype, weight.shape};
    if (scale != nullptr) c.to_scale = {scale->name, scale->dtype, scale->shape};
    if (is_expert && options_.ranks > 1)
      for (int64_t r = 0; r < options_.ranks; ++r) {
        const Share own = expert_share(to_, {r, options_.ranks});
        if (weight.expert >= own.begin && weight.expert < own.end) placed.group = r;
      }
    return placed;
  }

  const Checkpoint& source_;
  const Config &from_, &to_;
  const ConversionOptions& options_;
};

/// Widest element of what is written: files are sorted by it, so that every tensor is aligned.
int alignment(const Conversion& c) {
  const int scale = c.to_scale ? bits(c.to_scale->dtype) : 0;
  return std::max(bits(c.to.dtype), scale);
}

/// Cuts the tensors, in the order in which the source has them, into files.
std::vector<PlannedShard> cut(std::vector<Placed> placed, uint64_t most) {
  std::ranges::stable_sort(placed, {}, [](const Placed& p) {
    return std::tuple(p.group, p.conversion.weight->shard, p.conversion.weight->data.data());
  });
  std::vector<PlannedShard> shards;
  std::vector<int64_t> groups;
  uint64_t bytes = 0;
  for (Placed& p : placed) {
    const uint64_t own = p.conversion.bytes_written();
    if (shards.empty() || groups.back() != p.group || bytes + own > most) {
      shards.emplace_back();
      groups.push_back(p.group);
      bytes = 0;
    }
    bytes += own;
    shards.back().conversions.push_back(std::move(p.conversion));
  }
  const bool by_rank = !groups.empty() && groups.back() >= 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto of = std::ranges::count(groups, groups[i]);
    const auto number =
        std::count(groups.begin(), groups.begin() + static_cast<ptrdiff_t>(i) + 1, groups[i]);
    const std::string group = !by_rank        ? ""
                              : groups[i] < 0 ? "common-"
                                              : fmt::format("rank{:02}-", groups[i]);
    shards[i].file = fmt::format("model-{}{:05}-of-{:05}.safetensors", group, number, of);
    std::ranges::stable_sort(shards[i].conversions, std::greater(), alignment);
  }
  return shards;
}

/// Names of files that belong to a checkpoint besides weights and config.json.
std::vector<fs::path> companions(const fs::path& folder) {
  constexpr std::string_view kNames[] = {"tokenizer.json",         "tokenizer_config.json",
                                         "generation_config.json", "special_tokens_map.json",
                                         "chat_template.jinja",    "LICENSE"};
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const std::string_view name : kNames)
    if (fs::is_regular_file(folder / name, ignored)) found.emplace_back(name);
  for (const auto& entry : fs::recursive_directory_iterator(folder / "encoding", ignored))
    if (entry.is_regular_file(ignored))
      found.push_back(fs::relative(entry.path(), folder, ignored));
  std::ranges::sort(found);
  return found;
}

std::string identity_of(const ConversionPlan& plan) {
  Hasher hash;
  hash.add(kLayout).add(plan.options.inexact).add(plan.config);
  for (const Checkpoint::Shard& shard : plan.source->shards()) {
    std::error_code ignored;
    const auto changed = fs::last_write_time(shard.path, ignored).time_since_epoch().count();
    hash.add(shard.path.filename().string())
        .add(uint64_t{shard.file.bytes().size()})
        .add(static_cast<int64_t>(changed));
  }
  for (const PlannedShard& shard : plan.shards) {
    hash.add(shard.file);
    for (const Conversion& c : shard.conversions)
      hash.add(c.change)
          .add(c.weight->name)
          .add(static_cast<int64_t>(
              c.weight->data.data() -
              plan.source->shards()[static_cast<size_t>(c.weight->shard)].file.bytes().data()));
    for (const TensorSpec& tensor : shard.tensors())
      hash.add(tensor.name).add(tensor.dtype).add(tensor.shape.to_string());
  }
  return hash.digest().hex();
}

/// Tensors that no row of the weight table names are taken along.
void add_surplus(const Checkpoint& source, const WeightMatch& match, std::vector<Placed>& placed) {
  for (const WeightMatch::Problem& problem : match.problems) {
    if (problem.fault != WeightMatch::Fault::surplus) continue;
    const Tensor* const tensor = source.find(problem.name);
    Placed& added = placed.emplace_back();
    added.conversion.weight = tensor;
    added.conversion.to = {tensor->name, tensor->dtype, tensor->shape};
  }
}

}  // namespace

uint64_t Conversion::bytes_read() const {
  return weight->data.size() + (scale != nullptr ? scale->data.size() : 0);
}

uint64_t Conversion::bytes_written() const {
  const auto bytes = [](const TensorSpec& t) {
    return static_cast<uint64_t>(size_in_bytes(t.dtype, t.shape.numel()));
  };
  return bytes(to) + (to_scale ? bytes(*to_scale) : 0);
}

std::vector<TensorSpec> PlannedShard::tensors() const {
  std::vector<TensorSpec> all;
  for (const Conversion& c : conversions) {
    all.push_back(c.to);
    if (c.to_scale) all.push_back(*c.to_scale);
  }
  return all;
}

std::map<std::string, std::string> ConversionPlan::metadata() const {
  // "pt" is what transformers wants to read.
  return {{"format", "pt"}, {"tessera_conversion", identity}};
}

Result<ConversionPlan> plan_conversion(const fs::path& folder, const ConversionOptions& options) {
  ConversionPlan plan;
  plan.options = options;
  plan.folder = folder;
  TESSERA_ASSIGN(const MappedFile config_file, MappedFile::open(folder / "config.json"));
  const std::string where = (folder / "config.json").string();
  TESSERA_ASSIGN(const Config from, parse_config(config_file.text()).context(where));
  TESSERA_ASSIGN(plan.config, converted_config(config_file.text(), options.form, options.layers));
  TESSERA_ASSIGN(const Config to, parse_config(plan.config).context("the converted config"));
  TESSERA_TRY(check_ranks(to, options.ranks));

  TESSERA_ASSIGN(Checkpoint opened, open_checkpoint(folder));
  plan.source = std::make_shared<const Checkpoint>(std::move(opened));
  const WeightMatch match = match_weights(*plan.source, from);
  using Part = WeightMatch::Part;
  TESSERA_TRY(match.check(match.draft_layers > 0 ? Part::trunk_and_draft : Part::trunk)
                  .context("the checkpoint is not what its config.json asks for"));

  Planner planner(*plan.source, from, to, options);
  TESSERA_ASSIGN(std::vector<Placed> placed,
                 planner.place(options.layers ? 0 : match.draft_layers));
  if (!options.layers) add_surplus(*plan.source, match, placed);
  plan.shards = cut(std::move(placed), options.shard_bytes);
  plan.copied = companions(folder);
  plan.identity = identity_of(plan);
  plan.index.total_size = 0;
  for (PlannedShard& shard : plan.shards) {
    const std::vector<TensorSpec> tensors = shard.tensors();
    TESSERA_ASSIGN(const auto header, checkpoint::make_header(tensors, plan.metadata()));
    shard.bytes = header.data_offset + header.tensors.back().end;
    plan.bytes_written += shard.bytes;
    for (const Conversion& c : shard.conversions) plan.bytes_read += c.bytes_read();
    for (const TensorSpec& tensor : tensors) {
      plan.index.weights.push_back({tensor.name, static_cast<int>(plan.index.files.size())});
      *plan.index.total_size +=
          static_cast<uint64_t>(size_in_bytes(tensor.dtype, tensor.shape.numel()));
    }
    plan.index.files.push_back(shard.file);
  }
  return plan;
}

}  // namespace tessera::model::deepseek_v4
