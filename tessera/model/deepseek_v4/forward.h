// SPDX-License-Identifier: Apache-2.0
// The forward pass, written as a program for steps of one shape.
#pragma once

#include "tessera/model/deepseek_v4/pass.h"

namespace tessera::model::deepseek_v4 {

/// Addresses of what a program reads and writes besides weights.
struct StepMemory {
  uint64_t tables = 0;   // plan_step_tables() of the shape
  uint64_t caches = 0;   // CacheLayout::bytes
  uint64_t hidden = 0;   // the residual stream [rows, hc_mult, D]
  uint64_t drafted = 0;  // that of the draft block
  uint64_t logits = 0;   // f32 [logits, the rank's part of the vocabulary]
};

struct StepPlan {
  StepShape shape;
  int64_t bucket = 0;  // positions that sequences of the step may hold; a multiple of every ratio
  const CacheLayout* caches = nullptr;
  std::vector<int64_t> ratios;  // of the trunk's layers
  Numerics numerics;
  Ranks ranks = {};
};

/// Tokens -> residual stream and logits.
void write_step(ProgramBuilder& b, const Config& config, const Weights& weights,
                const StepPlan& plan, const StepMemory& memory);

/// Layers [first, last) of the trunk, from and to the residual stream in memory.
void write_layers(ProgramBuilder& b, const Config& config, const Weights& weights,
                  const StepPlan& plan, const StepMemory& memory, size_t first, size_t last);

/// The draft block: row r of the step continues row source_rows[r] of the residual stream with the
/// token that follows it there. Logits of the token after.
void write_draft(ProgramBuilder& b, const Config& config, const Weights& weights,
                 const StepPlan& plan, const StepMemory& memory, int64_t hidden_rows);

}  // namespace tessera::model::deepseek_v4
