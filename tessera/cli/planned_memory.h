// SPDX-License-Identifier: Apache-2.0
// What a model takes besides its weights when a device runs it.
#pragma once

#include <vector>

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/memory_plan.h"
#include "tessera/model/deepseek_v4/model_options.h"
#include "tessera/runtime/device.h"

namespace tessera::cli {

/// What weights are made into, and which of them a rank loads, at these options.
model::deepseek_v4::WeightUse weight_use(const model::deepseek_v4::ModelOptions& options);

/// The model's caches, activations, logits and tables at these options; where the device's memory
/// is that of the host, scratch memory of its threads.
Result<std::vector<model::deepseek_v4::MemoryPart>> working_memory(
    const model::deepseek_v4::Config& config, const runtime::DeviceInfo& device, bool on_host,
    const model::deepseek_v4::ModelOptions& options);

}  // namespace tessera::cli
