// SPDX-License-Identifier: Apache-2.0
// Keeps the rows of a step that later windows still need.
#pragma once

#include <algorithm>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/step_spans.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct CompressorStateWrite {
  static Signature signature() {
    return {
        .name = "compressor_state_write",
        .family = "compressor",
        .rows = "22,25",
        .summary = "Rows of a step into the ring of the compressor's state.",
        .formula =
            "with r = state_slots[t] >= 0: state_kv[r, :] <- kv[t, :], state_score[r, :] <- "
            "score[t, :] + "
            "ape[positions[t] % ratio, :]; rows with slot -1 are not kept (a later row of the step "
            "takes the "
            "slot); slots are distinct\n"
            "kv, score [T, W] f32, ape [ratio, W] f32, positions, state_slots [T] i32, state_* [R, "
            "W] f32: "
            "the sequences' rings one after the other, slot q % slots for position q.",
        .source = "model.py:345-359",
        .tensors = {in("kv", "T,W", {DType::f32}), in("score", "T,W", {DType::f32}),
                    in("ape", "G,W", {DType::f32}), in("positions", "T", {DType::i32}),
                    in("state_slots", "T", {DType::i32}), inout("state_kv", "R,W", {DType::f32}),
                    inout("state_score", "R,W", {DType::f32})},
        .dynamic_dims = {"T", "R"},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("W"), cols = std::min(b.caps().vector_tile, pow2_ceil(width));
    const int64_t per_program = std::clamp(b.caps().program_grain, cols, round_up(width, cols));
    b.kernel("rows", {programs_for(width, per_program), b.dim("T")},
             {b.tensor("kv"), b.tensor("score"), b.tensor("ape"), b.tensor("positions"),
              b.tensor("state_slots"), b.tensor("state_kv"), b.tensor("state_score")},
             [=](KernelBuilder& k, View kv, View score, View ape, View positions, View slots,
                 View state_kv, View state_score) {
               const Tile t = k.program_id(1), slot = load_scalar(slots, {t}, -1);
               k.if_(slot >= 0, [&] {
                 const Tile own = cast(load_scalar(positions, {t}), DType::i64) % ape.extent(0);
                 for_program(k, 0, per_program, cols, kv.extent(1), [&](Tile col) {
                   store(state_kv, {slot, col}, load(kv, {t, col}, {cols}));
                   store(state_score, {slot, col},
                         load(score, {t, col}, {cols}) + load(ape, {own, col}, {cols}));
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const auto slot = static_cast<int64_t>(r.in("state_slots").at({t}));
      const auto own = static_cast<int64_t>(r.in("positions").at({t})) % r.dim("G");
      if (slot < 0) continue;
      for (int64_t d = 0; d < r.dim("W"); ++d) {
        r.out("state_kv").set({slot, d}, r.in("kv").at({t, d}));
        r.out("state_score").set({slot, d}, r.in("score").at({t, d}) + r.in("ape").at({own, d}));
      }
    }
  }

  static std::vector<Case> cases() {
    const auto use = [](int64_t T, int64_t R, int64_t G, int64_t W, std::string note) {
      return Case{.dims = {{"T", T}, {"R", R}, {"G", G}, {"W", W}}, .note = std::move(note)};
    };
    std::vector<Case> list = {
        use(4, 8, 4, 1024, "prompt"),      use(29, 18, 4, 256, "chunk"),
        use(300, 390, 128, 64, "mixed"),   use(9, 99, 4, 1024, "decode"),
        use(1, 256, 128, 512, "chunk"),    use(40, 33, 4, 100, "mixed"),
        use(5, 15, 2, 3, "rows that pad"), use(0, 8, 4, 1024, "prompt"),
    };
    for (const Case& c : {use(1, 16, 4, 1024, "chunk"), use(512, 16, 4, 1024, "chunk")})
      list.push_back(bench_case(c.dims, c.dtypes, c.attributes, c.note));
    return list;
  }

  static void fill(Inputs& in) {
    const Problem& p = in.problem();
    const std::string& note = in.test_case().note;
    const int64_t T = p.dim("T"), later = 5 * p.dim("G") + 1;
    // As many sequences as the spans want share the rows of the state.
    const int64_t sequences = note == "prompt"  ? 1
                              : note == "chunk" ? 2
                              : note == "mixed" ? 3
                                                : std::max<int64_t>(T, 1);
    const int64_t slots = p.dim("R") / sequences;
    for (const StepSpan& span : step_spans(in, T, later))
      for (int64_t i = 0; i < span.rows; ++i) {
        const int64_t q = span.position + i;
        const bool kept = i + slots >= span.rows;
        in.tensor("positions").set({span.first_row + i}, static_cast<double>(q));
        in.tensor("state_slots")
            .set({span.first_row + i},
                 kept ? static_cast<double>(span.sequence * slots + q % slots) : -1);
      }
    if (note == "rows that pad")
      for (int64_t t = 0; t < T; t += 2) {
        in.tensor("positions").set({t}, -1);
        in.tensor("state_slots").set({t}, -1);
      }
  }

  /// One addition.
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double rows = static_cast<double>(std::min(p.dim("T"), p.dim("R")) * p.dim("W"));
    return {.bytes_read = 8 * rows, .bytes_written = 8 * rows, .flops = rows};
  }
};

}  // namespace tessera::ops
