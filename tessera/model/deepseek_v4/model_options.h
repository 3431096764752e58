// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/precision.h"
#include "tessera/model/deepseek_v4/sharding.h"

namespace tessera::model::deepseek_v4 {

struct ModelOptions {
  Precision precision = Precision::native;
  int64_t context = 4096;        // positions of a sequence
  int64_t sequences = 1;         // at once
  int64_t largest_step = 512;    // rows of all spans of a step together
  bool quantised_cache = false;  // KV rows as e4m3 codes: fewer bytes, the same numbers
  bool deterministic = false;    // a row's bits never depend on its neighbours or the chunking
  bool mtp = false;              // load the draft block (multi-token prediction)
  bool snapshots = false;        // room for Model::save()
  Rank rank = {};                // whose part of the model this is, and how experts are reached
};

/// Error (unsupported): every size for which there is no operator.
Result<void> check_sizes(const Config& config);

/// Native; bf16 where weights are in bf16.
Precision default_precision(const Config& config);

/// The same, and errors (invalid_argument): what a model of this configuration cannot do.
Result<void> check_options(const Config& config, const ModelOptions& options);

}  // namespace tessera::model::deepseek_v4
