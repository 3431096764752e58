// SPDX-License-Identifier: Apache-2.0
// The KV rows of a layer, in the activation type or as quantised codes: the same numbers.
#pragma once

#include "tessera/model/deepseek_v4/pass.h"

namespace tessera::model::deepseek_v4 {

/// Rows of all sequences: [R, head_dim], or u8 [R, bytes of a row].
Value kv_rows(Pass& p, const LayerCache& cache);

/// x [E, head_dim] normalised by `norm`, rotated, with official numerics rounded to e4m3, into the
/// rows that `slots` names.
void insert_rows(Pass& p, Value x, const DeviceTensor& norm, const RopeTable& rope, Value slots,
                 Value rows);

/// Bytes of a KV row. Error: a quantised cache for numerics that do not round keys, or for a width
/// it does not have.
Result<int64_t> kv_row_bytes(const Config& config, const Numerics& numerics);

}  // namespace tessera::model::deepseek_v4
