// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/model_kernels.h"

#include <algorithm>
#include <string>
#include <unordered_set>

#include "tessera/model/deepseek_v4/made_weights.h"
#include "tessera/runtime/tuning.h"

namespace tessera::model::deepseek_v4 {
namespace {

/// One layer of each kind: the others have the same kernels.
Config one_of_each_kind(const Config& config) {
  Config few = config;
  few.layers.clear();
  for (const Config::Layer& layer : config.layers)
    if (std::ranges::find(few.layers, layer) == few.layers.end()) few.layers.push_back(layer);
  return few;
}

}  // namespace

Result<std::vector<lang::Trace>> kernels_of_steps(const StepWriter& writer,
                                                  std::span<const StepKey> keys,
                                                  const runtime::Capabilities& capabilities) {
  const ModelOptions& options = writer.options();
  WeightShapes shapes(writer.config(), options.precision, options.rank);
  TESSERA_ASSIGN(const Weights weights,
                 assemble_weights(writer.config(), shapes, options.mtp, options.rank));
  std::vector<OperatorUse> uses;
  std::unordered_set<std::string> seen;
  for (const StepKey& key : keys) {
    ProgramBuilder builder;
    writer.write(builder, weights, key, StepMemory{}, Ranks{.rank = options.rank});
    TESSERA_ASSIGN(const auto own, builder.uses());
    for (const OperatorUse& use : own)
      if (seen.insert(key_of(use)).second) uses.push_back(use);
  }
  return kernels_of(uses, {capabilities, {.deterministic = options.deterministic}});
}

Result<std::vector<lang::Trace>> model_kernels(const Config& config, const ModelOptions& options,
                                               const runtime::Capabilities& capabilities) {
  TESSERA_TRY(check_options(config, options));
  const StepWriter writer(one_of_each_kind(config), options);
  return kernels_of_steps(writer, writer.representatives(), capabilities);
}

Hash128 subject_of_kernels(std::string_view config, const ModelOptions& options,
                           const runtime::Capabilities& capabilities) {
  Hasher hasher;
  hasher.add(config)
      .add(options.precision)
      .add(options.context)
      .add(options.sequences)
      .add(options.largest_step)
      .add(options.quantised_cache)
      .add(options.deterministic)
      .add(options.mtp)
      .add(options.snapshots)
      .add(options.rank.number)
      .add(options.rank.count)
      .add(options.rank.experts)
      .add(capabilities.wide_products);
  const auto add = [&](const runtime::Hints& hints) {
    hasher.add(hints.size());
    for (const auto& [name, value] : hints) hasher.add(name).add(value);
  };
  add(runtime::hints_of(capabilities));
  if (capabilities.tuning != nullptr)
    for (const auto& [key, hints] : capabilities.tuning->all()) {
      hasher.add(key);
      add(hints);
    }
  return hasher.digest();
}

Result<std::vector<lang::Trace>> model_kernels_of_any_context(
    const Config& config, ModelOptions options, const runtime::Capabilities& capabilities) {
  options.sequences = options.largest_step;
  std::vector<lang::Trace> all;
  std::unordered_set<Hash128> known;
  // The longest has the programs of all contexts but those shorter than its smallest bucket.
  std::vector<int64_t> contexts = {config.max_positions};
  for (int64_t context = 1; context < std::min(config.max_positions, StepWriter::kSmallestBucket);
       context *= 2)
    contexts.push_back(context);
  for (const int64_t context : contexts) {
    options.context = context;
    TESSERA_ASSIGN(auto kernels, model_kernels(config, options, capabilities));
    for (lang::Trace& kernel : kernels)
      if (known.insert(kernel.hash()).second) all.push_back(std::move(kernel));
  }
  return all;
}

}  // namespace tessera::model::deepseek_v4
