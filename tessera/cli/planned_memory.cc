// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/planned_memory.h"

#include "tessera/model/deepseek_v4/model.h"

namespace tessera::cli {

namespace deepseek = model::deepseek_v4;

deepseek::WeightUse weight_use(const deepseek::ModelOptions& options) {
  return {.rescales_experts = options.precision == deepseek::Precision::fp8,
          .with_draft = options.mtp,
          .experts = options.rank.experts};
}

Result<std::vector<deepseek::MemoryPart>> working_memory(const deepseek::Config& config,
                                                         const runtime::DeviceInfo& device,
                                                         bool on_host,
                                                         const deepseek::ModelOptions& options) {
  TESSERA_ASSIGN(const deepseek::WorkingMemory model,
                 deepseek::Model::plan(config, device.capabilities, options));
  std::vector<deepseek::MemoryPart> parts = {
      {"caches", static_cast<uint64_t>(model.caches)},
      {"activations", static_cast<uint64_t>(model.activations)},
      {"logits", static_cast<uint64_t>(model.logits)},
      {"tables", static_cast<uint64_t>(model.tables)}};
  if (on_host)
    parts.push_back(
        {"threads", static_cast<uint64_t>(device.compute_units) * device.unit_scratch_bytes});
  return parts;
}

}  // namespace tessera::cli
