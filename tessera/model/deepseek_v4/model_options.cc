// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/model_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "tessera/model/deepseek_v4/kv_cache.h"
#include "tessera/model/deepseek_v4/pass.h"

namespace tessera::model::deepseek_v4 {

Result<void> check_sizes(const Config& config) {
  std::vector<std::string> problems;
  const auto equal = [&](std::string_view name, int64_t value, int64_t known) {
    if (value != known)
      problems.push_back(fmt::format("{} is {}, only {} runs", name, value, known));
  };
  const auto multiple = [&](std::string_view name, int64_t value, int64_t step) {
    if (value % step != 0)
      problems.push_back(fmt::format("{} is {}, only multiples of {} run", name, value, step));
  };
  equal("qk_rope_head_dim", config.rope_dim, 64);
  equal("index_head_dim", config.index_head_dim, 128);
  if (config.o_groups > 1) multiple("o_lora_rank", config.o_lora_rank, Config::kFp8Block);
  if (problems.empty()) return {};
  return unsupported(fmt::format("no operators for these sizes: {}", fmt::join(problems, "; ")));
}

Precision default_precision(const Config& config) {
  const bool wide = config.linear_dtype == DType::bf16 || config.expert_dtype == DType::bf16;
  return wide ? Precision::bf16 : Precision::native;
}

Result<void> check_options(const Config& config, const ModelOptions& options) {
  TESSERA_TRY(check_sizes(config));
  for (const auto& [name, value] : {std::pair{"context", options.context},
                                    {"sequences", options.sequences},
                                    {"largest_step", options.largest_step}})
    if (value < 1) return invalid_argument(fmt::format("{} is {}, at least 1", name, value));
  if (options.context > config.max_positions)
    return invalid_argument(fmt::format("a context of {} positions: the model goes to {}",
                                        options.context, config.max_positions));
  if (options.mtp && (config.draft_layers < 1 || config.dspark))
    return invalid_argument("this model has no block for multi-token prediction");
  const bool official =
      options.precision == Precision::native || options.precision == Precision::fp8;
  if (official && default_precision(config) == Precision::bf16)
    return invalid_argument(
        fmt::format("this checkpoint has weights in bf16, for the precisions bf16 and fp32; {} "
                    "rounds what meets FP8 weights",
                    name(options.precision)));
  TESSERA_TRY(kv_row_bytes(config, Numerics::of(options)));
  return {};
}

}  // namespace tessera::model::deepseek_v4
