// SPDX-License-Identifier: Apache-2.0
// The cache rows that each row of a step attends to: its window, then its compressed entries.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/step_spans.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct AttentionIndex {
  static Signature signature() {
    return {
        .name = "attention_index",
        .family = "attention",
        .rows = "34,35,36",
        .summary = "Rows of the KV cache for each row of a step, of any mixture of sequences.",
        .formula =
            "with p = positions[t] and base = sequence[t] (ring + capacity), j counting from 0:\n"
            "indices[t, j] = base + q % ring, q = max(p - window + 1, 0) + j, where j < window and "
            "q <= p;\n"
            "indices[t, window + j] = base + ring + i, i = selected[t, j] if there is a selection, "
            "else i = j "
            "where j < (p + 1) / ratio (ratio 0: nowhere); -1 in all other places, where i is -1, "
            "and where p "
            "is -1\n"
            "positions, sequence [T] i32, selected [T, K] i32 (as top_k gives it with offset 0), "
            "indices [T, N] "
            "i32; ring >= window.",
        .source = "model.py:255-280, 528-533",
        .tensors = {in("positions", "T", {DType::i32}), in("sequence", "T", {DType::i32}),
                    optional(in("selected", "T,K", {DType::i32})),
                    out("indices", "T,N", {DType::i32})},
        .attributes = {{"window", 128}, {"ratio", 0}, {"ring", 128}, {"capacity", 0}},
        .dynamic_dims = {"T", "K", "N"},
    };
  }

  static void plan(PlanBuilder& b) {
    constexpr int64_t kColumns = 128;
    const int64_t rows = std::min<int64_t>(8, b.m_class("T"));
    const auto window = static_cast<int64_t>(b.attribute("window")),
               ratio = static_cast<int64_t>(b.attribute("ratio"));
    const bool chosen = b.has("selected");
    // Without a selection the positions take its place, unread.
    b.kernel(
        "indices", {programs_for(b.dim("N"), kColumns), programs_for(b.dim("T"), rows)},
        {b.tensor("positions"), b.tensor("sequence"), b.tensor(chosen ? "selected" : "positions"),
         b.tensor("indices")},
        {scalar_i64("ring", static_cast<int64_t>(b.attribute("ring"))),
         scalar_i64("region", static_cast<int64_t>(b.attribute("ring") + b.attribute("capacity")))},
        [=](KernelBuilder& k, View positions, View sequence, View selected, View indices, Tile ring,
            Tile region) {
          const Tile column = k.program_id(0) * kColumns, t = k.program_id(1) * rows;
          const auto of_rows = [&](const View& table, double fill) {
            return reshape(load(table, {t}, {rows}, fill), {rows, 1});
          };
          const Tile p = of_rows(positions, -1);
          const Tile base = of_rows(sequence, 0) * cast(region, DType::i32);
          const Tile length = cast(ring, DType::i32), j = k.iota({1, kColumns}, 1);
          const auto keep = [&](Tile found, Tile row) {
            store(indices, {t, column}, select(found & (p >= 0), base + row, -1));
          };
          const auto window_part = [&] {
            const Tile behind = cast(column, DType::i32) + j, first = max(p - (window - 1), 0);
            const Tile turned = first % length + behind;  // window <= ring: wraps once
            return std::pair(first + behind <= p,
                             select(turned >= length, turned - length, turned));
          };
          const auto entry_part = [&] {
            if (chosen) {
              const Tile entry = load(selected, {t, column - window}, {rows, kColumns}, -1);
              return std::pair(entry >= 0, length + entry);
            }
            const Tile entry = cast(column - window, DType::i32) + j;
            const Tile complete = ratio == 0 ? k.constant(DType::i32, {rows, 1}, 0)
                                             : (p + 1) / static_cast<int>(ratio);
            return std::pair(entry < complete, length + entry);
          };
          // Most programs lie on one side of the window's end.
          k.if_(
              column >= window,
              [&] {
                const auto [found, row] = entry_part();
                keep(found, row);
              },
              [&] {
                const auto [in_window, window_row] = window_part();
                const auto [in_entries, entry_row] = entry_part();
                const Tile is_window = cast(column, DType::i32) + j < static_cast<int>(window);
                keep(select(is_window, in_window, in_entries),
                     select(is_window, window_row, entry_row));
              });
        });
  }

  static void reference(const Reference& r) {
    const auto attribute = [&](const char* name) {
      return static_cast<int64_t>(r.attribute(name));
    };
    const int64_t window = attribute("window"), ratio = attribute("ratio"),
                  ring = attribute("ring"), region = ring + attribute("capacity");
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const auto p = static_cast<int64_t>(r.in("positions").at({t}));
      const int64_t base = static_cast<int64_t>(r.in("sequence").at({t})) * region;
      std::vector<int64_t> row(static_cast<size_t>(r.dim("N")), -1);
      int64_t at = 0;
      for (int64_t q = std::max<int64_t>(p - window + 1, 0); q <= p; ++q)
        row[static_cast<size_t>(at++)] = base + q % ring;
      for (int64_t j = 0; p >= 0 && window + j < r.dim("N"); ++j) {
        int64_t entry = -1;
        if (r.has("selected"))
          entry = static_cast<int64_t>(r.in("selected").at({t, j}));
        else if (ratio > 0 && (j + 1) * ratio <= p + 1)
          entry = j;
        if (entry >= 0) row[static_cast<size_t>(window + j)] = base + ring + entry;
      }
      for (int64_t j = 0; j < r.dim("N"); ++j)
        r.out("indices").set({t, j}, static_cast<double>(row[static_cast<size_t>(j)]));
    }
  }

  static std::vector<Case> cases() {
    const auto use = [](int64_t T, int64_t N, double window, double ratio, double ring,
                        double capacity, std::string note) {
      return Case{.dims = {{"T", T}, {"N", N}},
                  .attributes = {{"window", window},
                                 {"ratio", ratio},
                                 {"ring", ring},
                                 {"capacity", capacity}},
                  .note = std::move(note)};
    };
    const auto selecting = [](Case c) {
      c.dims["K"] = c.dims["N"] - static_cast<int64_t>(c.attributes["window"]);
      c.dtypes["selected"] = DType::i32;
      return c;
    };
    std::vector<Case> list = {
        use(1, 128, 128, 0, 128, 0, "chunk"),
        use(200, 128, 128, 0, 327, 0, "prompt"),
        use(11, 128, 128, 0, 130, 40, "decode"),
        use(1, 128 + 64, 128, 128, 128, 64, "chunk"),
        use(37, 128 + 20, 128, 128, 164, 20, "mixed"),
        use(9, 16 + 150, 16, 4, 21, 170, "decode"),
        selecting(use(1, 128 + 512, 128, 4, 128, 700, "chunk")),
        selecting(use(40, 128 + 30, 128, 4, 167, 300, "mixed")),
        selecting(use(7, 16 + 8, 16, 4, 19, 250, "rows that pad")),
        use(0, 128, 128, 0, 128, 0, "prompt"),
    };
    for (const Case& c : {use(1, 128 + 8192, 128, 128, 128, 8192, "chunk"),
                          selecting(use(1, 128 + 512, 128, 4, 128, 32768, "chunk")),
                          selecting(use(512, 128 + 512, 128, 4, 640, 32768, "chunk")),
                          use(512, 128, 128, 0, 640, 0, "prompt")})
      list.push_back(bench_case(c.dims, c.dtypes, c.attributes, c.note));
    return list;
  }

  static void fill(Inputs& in) {
    const Problem& p = in.problem();
    const std::string& note = in.test_case().note;
    const auto attribute = [&](const char* name) {
      return static_cast<int64_t>(p.attribute(name));
    };
    // Within the capacity, and at the end of an entry for a chunk of one row.
    const int64_t ratio = std::max<int64_t>(attribute("ratio"), 1),
                  last = attribute("capacity") == 0 ? 1000 : attribute("capacity") * ratio / 2;
    const int64_t later = last / ratio * ratio - 1;
    HostTensor &positions = in.tensor("positions"), &sequence = in.tensor("sequence");
    for (const StepSpan& span : step_spans(in, p.dim("T"), later))
      for (int64_t i = 0; i < span.rows; ++i) {
        positions.set({span.first_row + i}, static_cast<double>(span.position + i));
        sequence.set({span.first_row + i}, static_cast<double>(span.sequence));
      }
    if (note == "rows that pad")
      for (int64_t t = 0; t < p.dim("T"); t += 2) positions.set({t}, -1);
    if (!p.has("selected")) return;
    for (int64_t t = 0; t < p.dim("T"); ++t) {
      const int64_t complete = (static_cast<int64_t>(positions.at({t})) + 1) / ratio;
      const int64_t gap = std::max<int64_t>(complete / p.dim("K"), 1);
      for (int64_t j = 0; j < p.dim("K"); ++j) {
        const int64_t entry = j * gap + in.integer(0, gap - 1);
        in.tensor("selected").set({t, j}, entry < complete ? static_cast<double>(entry) : -1);
      }
    }
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    double read = 8.0 * static_cast<double>(p.dim("T"));
    if (p.has("selected")) read += static_cast<double>(p.tensor("selected").bytes());
    return {.bytes_read = read, .bytes_written = static_cast<double>(p.tensor("indices").bytes())};
  }
};

}  // namespace tessera::ops
