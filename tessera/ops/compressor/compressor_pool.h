// SPDX-License-Identifier: Apache-2.0
// The compressed entries that a step completes, from its own rows and from the state that earlier
// steps left.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tessera/ops/compressor/kernels/softmax_mean.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/step_spans.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct CompressorPool {
  static Signature signature() {
    return {
        .name = "compressor_pool",
        .family = "compressor",
        .rows = "22,23,24",
        .summary = "Gated pool of the windows that a step completes, of any mixture of sequences.",
        .formula =
            "entry e is number i = entry_index[e] of sequence s = entry_sequence[e]. Without "
            "overlap it "
            "pools positions q = i ratio .. i ratio + ratio-1 (W = D), with overlap also the "
            "`ratio` positions "
            "before them (W = 2 D: columns 0..D-1 of those, D..2D-1 of its own window):\n"
            "y[e, d] = sum_q p_q kv_q[d], p = softmax over q of score_q[d]; (kv_q, score_q) is "
            "(0, -inf) "
            "where q < 0; (kv, score + ape[q % ratio]) of row entry_first_row[e] + q - f where q "
            ">= f = "
            "entry_first_position[e]; else slot q % slots of the state of s, whose scores have the "
            "ape already. "
            "f32 inside, rounded once\n"
            "kv, score [T, W] f32, ape [ratio, W] f32, state_* [S, slots, W] f32 with slots >= "
            "ratio (1 + "
            "overlap), entry_* [E] i32, y [E, D]. An unused entry has index -1; its row of y is "
            "left as it is. "
            "To be run before compressor_state_write of the same step.",
        .source = "model.py:307-359",
        .tensors = {in("kv", "T,W", {DType::f32}), in("score", "T,W", {DType::f32}),
                    in("ape", "G,W", {DType::f32}), in("state_kv", "S,slots,W", {DType::f32}),
                    in("state_score", "S,slots,W", {DType::f32}),
                    in("entry_sequence", "E", {DType::i32}), in("entry_index", "E", {DType::i32}),
                    in("entry_first_row", "E", {DType::i32}),
                    in("entry_first_position", "E", {DType::i32}),
                    out("y", "E,D", {DType::bf16, DType::f32})},
        .attributes = {{"ratio", 4}, {"overlap", 1}},
        .dynamic_dims = {"T", "E", "S", "slots"},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("D"), cols = std::min(b.caps().vector_tile, pow2_ceil(width));
    const auto ratio = static_cast<int64_t>(b.attribute("ratio"));
    const bool overlap = b.attribute("overlap") != 0;
    const int64_t count = overlap ? 2 * ratio : ratio;  // positions of an entry
    const int64_t per_program =
        std::clamp(b.caps().program_grain / count / cols * cols, cols, round_up(width, cols));
    const DType to = b.dtype("y");
    b.kernel(
        "entries", {programs_for(width, per_program), b.dim("E")},
        {b.tensor("kv"), b.tensor("score"), b.tensor("ape"), b.tensor("state_kv"),
         b.tensor("state_score"), b.tensor("entry_sequence"), b.tensor("entry_index"),
         b.tensor("entry_first_row"), b.tensor("entry_first_position"), b.tensor("y")},
        [=](KernelBuilder& k, View kv, View score, View ape, View state_kv, View state_score,
            View sequences, View indices, View first_rows, View first_positions, View y) {
          const Tile entry = k.program_id(1);
          const auto number = [&](const View& table, double fill) {
            return cast(load_scalar(table, {entry}, fill), DType::i64);
          };
          const Tile index = number(indices, -1);
          k.if_(index >= 0, [&] {
            const Tile first_position = number(first_positions, 0), sequence = number(sequences, 0);
            // Position j of the entry is q0 + j. The first ones may not exist, those below
            // first_position lie in the state, the rest in this step.
            const Tile q0 = (overlap ? index - 1 : index) * ratio, first = max(q0, 0);
            const Tile missing = first - q0, kept = clamp(first_position - q0, missing, count);
            const Tile slots = state_kv.extent(1), slot0 = first % slots;
            const Tile row0 = number(first_rows, 0) + q0 - first_position;
            for_program(k, 0, per_program, cols, y.extent(1), [&](Tile col) {
              // Where position j has its columns.
              const auto column = [&](Tile j) {
                return overlap ? select(j >= ratio, y.extent(1), 0) + col : col;
              };
              const auto walk = [&](auto carried, auto step) {
                const auto old = k.for_range(missing, kept, 1, carried, [&](Tile j, auto... c) {
                  const Tile turned = slot0 + (j - missing);
                  const Tile slot = select(turned >= slots, turned - slots, turned);
                  const auto at = [&](const View& state, double fill) {
                    return load(state, {sequence, slot, column(j)}, {cols}, fill);
                  };
                  return step([&] { return at(state_score, compressor::kNoScore); },
                              [&] { return at(state_kv, 0); }, lang::carry(c...));
                });
                return k.for_range(kept, count, 1, old, [&](Tile j, auto... c) {
                  const Tile own = overlap ? select(j >= ratio, j - ratio, j) : j;
                  const auto logit = [&] {
                    return load(score, {row0 + j, column(j)}, {cols}, compressor::kNoScore) +
                           load(ape, {own, column(j)}, {cols});
                  };
                  const auto value = [&] { return load(kv, {row0 + j, column(j)}, {cols}); };
                  return step(logit, value, lang::carry(c...));
                });
              };
              store(y, {entry, col}, cast(compressor::softmax_mean(k, {cols}, walk), to));
            });
          });
        });
  }

  static void reference(const Reference& r) {
    const auto ratio = static_cast<int64_t>(r.attribute("ratio"));
    const bool overlap = r.attribute("overlap") != 0;
    const int64_t slots = r.dim("slots"), width = r.dim("D");
    const auto entry_number = [&](const char* name, int64_t e) {
      return static_cast<int64_t>(r.in(name).at({e}));
    };
    for (int64_t e = 0; e < r.dim("E"); ++e) {
      const int64_t index = entry_number("entry_index", e);
      const int64_t sequence = entry_number("entry_sequence", e);
      const int64_t row = entry_number("entry_first_row", e);
      const int64_t position = entry_number("entry_first_position", e);
      for (int64_t d = 0; d < width; ++d) {
        if (index < 0) {
          r.out("y").set_any({e, d});
          continue;
        }
        std::vector<double> logits, values;
        for (int64_t q = (index - (overlap ? 1 : 0)) * ratio; q < (index + 1) * ratio; ++q) {
          if (q < 0) continue;
          const int64_t c = overlap && q >= index * ratio ? width + d : d;
          if (q >= position) {
            logits.push_back(r.in("score").at({row + q - position, c}) +
                             r.in("ape").at({q % ratio, c}));
            values.push_back(r.in("kv").at({row + q - position, c}));
          } else {
            logits.push_back(r.in("state_score").at({sequence, q % slots, c}));
            values.push_back(r.in("state_kv").at({sequence, q % slots, c}));
          }
        }
        const double top = *std::max_element(logits.begin(), logits.end());
        double weights = 0, sum = 0, magnitude = 0;
        for (size_t i = 0; i < logits.size(); ++i) {
          const double w = std::exp(logits[i] - top);
          weights += w;
          sum += w * values[i];
          magnitude += w * std::abs(values[i]);
        }
        r.out("y").set({e, d}, sum / weights, magnitude / weights);
      }
    }
  }

  static std::vector<Case> cases() {
    const auto use = [](int64_t T, int64_t E, int64_t S, int64_t slots, int64_t ratio, int64_t D,
                        bool overlap, DType y, std::string note) {
      return Case{.dims = {{"T", T},
                           {"E", E},
                           {"S", S},
                           {"slots", slots},
                           {"G", ratio},
                           {"D", D},
                           {"W", overlap ? 2 * D : D}},
                  .dtypes = {{"y", y}},
                  .attributes = {{"ratio", static_cast<double>(ratio)}, {"overlap", overlap}},
                  .note = std::move(note)};
    };
    const DType bf16 = DType::bf16, f32 = DType::f32;
    std::vector<Case> list = {
        use(4, 2, 1, 8, 4, 512, true, bf16, "prompt"),
        use(13, 4, 2, 8, 4, 128, true, f32, "prompt"),
        use(14, 5, 2, 9, 4, 64, true, f32, "chunk"),
        use(8, 8, 8, 11, 4, 512, true, bf16, "decode"),
        use(11, 5, 3, 8, 4, 100, true, f32, "mixed"),
        use(3, 1, 1, 8, 4, 128, true, f32, "prompt"),
        use(128, 2, 1, 128, 128, 512, false, bf16, "prompt"),
        use(300, 4, 3, 131, 128, 64, false, f32, "mixed"),
        use(1, 1, 2, 128, 128, 512, false, bf16, "chunk"),
        use(7, 7, 7, 9, 2, 3, false, f32, "decode"),
        use(0, 0, 1, 8, 4, 64, true, f32, "prompt"),
    };
    for (const Case& c : {use(1, 1, 2, 8, 4, 512, true, bf16, "chunk"),
                          use(512, 129, 1, 8, 4, 512, true, bf16, "prompt"),
                          use(1, 1, 2, 128, 128, 512, false, bf16, "chunk"),
                          use(512, 5, 1, 128, 128, 512, false, bf16, "prompt")})
      list.push_back(bench_case(c.dims, c.dtypes, c.attributes, c.note));
    return list;
  }

  static void fill(Inputs& in) {
    const Problem& p = in.problem();
    const auto ratio = static_cast<int64_t>(p.attribute("ratio"));
    // A chunk of one row completes an entry.
    const int64_t later = p.dim("T") == 1 ? 6 * ratio - 1 : 5 * ratio + 1;
    for (const char* name : {"score", "state_score"})
      for (int64_t i = 0; i < in.tensor(name).numel(); ++i)
        in.tensor(name).set_flat(i, in.normal(i % 7 == 0 ? 300 : 3));
    HostTensor& index = in.tensor("entry_index");
    for (int64_t e = 0; e < index.numel(); ++e) index.set({e}, -1);
    int64_t e = 0;
    for (const StepSpan& span : step_spans(in, p.dim("T"), later)) {
      const int64_t end = span.position + span.rows;
      for (int64_t i = span.position / ratio; (i + 1) * ratio <= end; ++i, ++e) {
        index.set({e}, static_cast<double>(i));
        in.tensor("entry_sequence").set({e}, static_cast<double>(span.sequence));
        in.tensor("entry_first_row").set({e}, static_cast<double>(span.first_row));
        in.tensor("entry_first_position").set({e}, static_cast<double>(span.position));
      }
      if (span.position > 0) continue;
      // What a request before left here counts for nothing.
      for (const char* name : {"state_kv", "state_score"})
        for (int64_t slot = 0; slot < p.dim("slots"); ++slot)
          for (int64_t d = 0; d < p.dim("W"); ++d)
            in.tensor(name).set({span.sequence, slot, d}, std::nan(""));
    }
  }

  /// As gated_pool.
  static Tolerance tolerance(const Problem& p) {
    return {.scaled = p.attribute("ratio") > 8 ? 5e-5 : 2e-5};
  }

  static Cost cost(const Problem& p) {
    const double pooled =
        static_cast<double>(p.dim("E") * p.dim("W")) * static_cast<double>(p.dim("G"));
    return {.bytes_read = 8 * pooled,
            .bytes_written = static_cast<double>(p.tensor("y").bytes()),
            .flops = 6 * pooled};
  }
};

}  // namespace tessera::ops
