// SPDX-License-Identifier: Apache-2.0
// The kernels of a model before it runs: so that none is compiled while it does, and for packs.
#pragma once

#include <string_view>
#include <vector>

#include "tessera/base/hash.h"
#include "tessera/lang/trace.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/model_options.h"
#include "tessera/model/deepseek_v4/step_writer.h"
#include "tessera/runtime/capabilities.h"

namespace tessera::model::deepseek_v4 {

/// Every kernel that prompts, decoding and drafts launch on a device of these capabilities, each
/// once. Needs neither weights nor a device. Errors: options out of range, sizes
/// that an operator cannot run.
Result<std::vector<lang::Trace>> model_kernels(const Config& config, const ModelOptions& options,
                                               const runtime::Capabilities& capabilities);

/// The same whatever the context, the number of sequences, the steps up to that size and the logits
/// asked for turn out to be: for packs. `options.context` and `options.sequences` do not count.
Result<std::vector<lang::Trace>> model_kernels_of_any_context(
    const Config& config, ModelOptions options, const runtime::Capabilities& capabilities);

/// Stands for all that decides them but the program's code; `config` is the text of config.json.
Hash128 subject_of_kernels(std::string_view config, const ModelOptions& options,
                           const runtime::Capabilities& capabilities);

/// Those of the programs of these keys; `writer` is for a model whose layers may be fewer.
Result<std::vector<lang::Trace>> kernels_of_steps(const StepWriter& writer,
                                                  std::span<const StepKey> keys,
                                                  const runtime::Capabilities& capabilities);

}  // namespace tessera::model::deepseek_v4
