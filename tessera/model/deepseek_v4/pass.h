// SPDX-License-Identifier: Apache-2.0
// What every part of the forward pass works with while one program is written, and the two things
// all of them do: norms and linears in the precision at hand.
#pragma once

#include <vector>

#include "tessera/model/deepseek_v4/cache_layout.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/model_options.h"
#include "tessera/model/deepseek_v4/ranks.h"
#include "tessera/model/deepseek_v4/step_tables.h"
#include "tessera/model/deepseek_v4/weights.h"
#include "tessera/model/program/program_builder.h"

namespace tessera::model::deepseek_v4 {

/// How a precision differs from another in what surrounds the products (docs/model.md).
struct Numerics {
  DType activation = DType::bf16;  // between operators
  bool official = true;  // e4m3 activations, KV and indexer simulations, the bf16 chain of q norms
  bool deterministic = false;
  bool quantised_cache = false;  // KV rows as codes

  static Numerics of(const ModelOptions& options);
};

/// cos and sin of some positions, [positions, 32] each.
struct RopeTable {
  Value cos, sin;
};

/// Tables of a step for the layers of one ratio.
struct RatioStep {
  int64_t ratio = 0;
  int64_t entries = 0;  // a sequence may see, by the program's bucket
  Value window_slots, state_slots;
  Value entry_sequence, entry_index, entry_first_row, entry_first_position;
  Value entry_slots, index_slots;
  RopeTable row_rope, entry_rope;
  Value indices;  // what every row attends to; absent where an indexer selects
};

struct StepValues {
  int64_t rows = 0;
  Share own;  // rows whose residual stream this rank keeps: all, or its share of them
  Value tokens, positions, sequence, source_rows, logit_rows, numbers;
  std::vector<RatioStep> ratios;
  bool shares_rows() const { return own.count() != rows; }
  const RatioStep& of_ratio(int64_t ratio) const;
};

/// Whether each rank keeps a share of a step's rows between attention and attention: a step that
/// has a row for each, where experts are reached by exchange of rows.
bool shares_rows(Rank rank, int64_t rows);

struct Pass {
  ProgramBuilder& b;
  const Config& config;
  const Numerics numerics;
  const CacheLayout& caches;
  uint64_t cache_address;
  const Ranks ranks;
  StepValues step;

  Value value(Shape shape) const { return b.temporary(numerics.activation, shape); }
  Value weight(const DeviceTensor& tensor) const;  // absent for an absent one
  /// Memory of the caches.
  Value cached(DType dtype, Shape shape, int64_t offset) const;
};

/// A tensor that linears read [T, K]: with official numerics its e4m3 codes and the scales of
/// 128 columns, otherwise itself. `plain` may be absent where only linears read it.
struct Activation {
  Value plain, codes, scales;
};

enum class Keep : uint8_t { kForLinears, kPlainToo };

/// Places for activations [T, K].
Activation activations(Pass& p, const Shape& shape, Keep keep);
/// RMS norm over the last dimension of x [T, K] (paper: RMSNorm before every sublayer).
Activation normalised(Pass& p, Value x, const DeviceTensor& weight, Keep keep);
/// x [T, K] as it is.
Activation activation(Pass& p, Value x);
/// The same where the other parts of x's scale block are on the other ranks of `block`.
Activation part_of_block(Pass& p, Value x, comm::Communicator* block);
/// x w^T [T, N].
Value linear(Pass& p, const Activation& x, const LinearWeights& w);
/// The same where `x` and `w` are this rank's columns of several ranks': the part of the sum, f32.
Value partial_linear(Pass& p, const Activation& x, const LinearWeights& w);
/// What the ranks' parts (f32) are together, in the activation's type, of the rows this rank keeps;
/// `section` names the sum.
Value summed(Pass& p, Value part, std::string section);
/// The rows of x [T, ..] that this rank keeps, and all rows from what every rank keeps.
Value own_rows(Pass& p, Value x);
Value all_rows(Pass& p, Value own, std::string section = "row gather");
Activation all_rows(Pass& p, const Activation& own);
/// Rounded to the activation's type.
Value rounded(Pass& p, Value x);
/// Rows of the embedding table [T, D], whichever rank has them.
Value embedding(Pass& p, const DeviceTensor& table);
/// x w^T in f32 with a bf16 or f32 matrix, whatever the precision [T, N] (official: x.float()).
Value linear_f32(Pass& p, Value x, const DeviceTensor& w);

}  // namespace tessera::model::deepseek_v4
