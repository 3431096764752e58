// SPDX-License-Identifier: Apache-2.0
// Rows of the embedding table by token id.
#pragma once

#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct Embedding {
  static Signature signature() {
    return {
        .name = "embedding",
        .family = "embedding",
        .rows = "1,2",
        .summary =
            "Embedding rows of token ids; ids of another rank's share of the vocabulary give "
            "zeros.",
        .formula =
            "y[t, :] = table[ids[t] - first_id, :] where 0 <= ids[t] - first_id < V, else 0\n"
            "ids [T] i32 or i64, table [V, D], y [T, D]; one copy, no arithmetic. `first_id` is "
            "the "
            "first id of this rank's rows: the sum over ranks is the whole embedding.",
        .source = "model.py:96-105",
        .tensors = {in("ids", "T", {DType::i64, DType::i32}),
                    weight("table", "V,D", {DType::bf16, DType::f32}),
                    out("y", "T,D", {DType::bf16, DType::f32})},
        .attributes = {{"first_id", 0}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("D");
    RowTiling t = row_tiling(b, "T", width, 1, /*fill=*/2);
    t.rows = 1;  // each row has its own source
    const DType to = b.dtype("y");
    const auto first = static_cast<int64_t>(b.attribute("first_id"));
    b.kernel("rows", {t.programs(b.dim("T"))},
             {b.tensor("ids"), b.tensor("table"), streamed_if_large(b, "y", "T", width)},
             {scalar_i64("first_id", first)},
             [t, to](KernelBuilder& k, View ids, View table, View y, Tile first_id) {
               t.for_rows(k, y, [&](Tile row) {
                 const Tile id = cast(load_scalar(ids, {row}, -1), DType::i64) - first_id;
                 k.for_range(0, y.extent(1), t.cols, [&](Tile c) {
                   // A row outside the table reads as the fill, zero.
                   store(y, {row, c}, cast(load(table, {id, c}, {t.cols}), to));
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    const int64_t rows = r.dim("T"), width = r.dim("D"), vocabulary = r.dim("V");
    for (int64_t t = 0; t < rows; ++t) {
      const auto id = static_cast<int64_t>(r.in("ids").at({t}) - r.attribute("first_id"));
      for (int64_t d = 0; d < width; ++d)
        r.out("y").set({t, d}, id >= 0 && id < vocabulary ? r.in("table").at({id, d}) : 0.0);
    }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> bf16 = {
        {"ids", DType::i64}, {"table", DType::bf16}, {"y", DType::bf16}};
    const std::map<std::string, DType> i32 = {
        {"ids", DType::i32}, {"table", DType::bf16}, {"y", DType::bf16}};
    const std::map<std::string, DType> widened = {
        {"ids", DType::i64}, {"table", DType::bf16}, {"y", DType::f32}};
    const std::map<std::string, DType> f32 = {
        {"ids", DType::i32}, {"table", DType::f32}, {"y", DType::f32}};
    return {
        {{{"T", 1}, {"V", 97}, {"D", 4096}}, bf16},
        {{{"T", 3}, {"V", 97}, {"D", 7168}}, i32},
        {{{"T", 17}, {"V", 1000}, {"D", 4096}}, bf16},
        {{{"T", 70}, {"V", 50}, {"D", 33}},
         bf16,
         {},
         false,
         true,
         "odd width, many rows a program"},
        {{{"T", 9}, {"V", 50}, {"D", 1}}, widened},
        {{{"T", 5}, {"V", 64}, {"D", 100}},
         f32,
         {{"first_id", 40}},
         false,
         true,
         "second rank of three"},
        {{{"T", 17}, {"V", 20}, {"D", 130}}, bf16, {}, false, true, "ids outside"},
        {{{"T", 0}, {"V", 10}, {"D", 64}}, bf16},
        bench_case({{"T", 1}, {"V", 129280}, {"D", 4096}}, bf16, {}, "decode, Flash"),
        bench_case({{"T", 32768}, {"V", 16384}, {"D", 4096}}, bf16, {}, "256 MB, rows at random"),
    };
  }

  static void fill(Inputs& in) {
    const int64_t vocabulary = in.problem().dim("V");
    const auto first = static_cast<int64_t>(in.problem().attribute("first_id"));
    HostTensor& ids = in.tensor("ids");
    for (int64_t t = 0; t < ids.numel(); ++t) {
      int64_t id = in.integer(0, vocabulary - 1) + (first == 0 ? 0 : in.integer(0, 2) * first / 2);
      if (in.test_case().note == "ids outside" && t % 3 == 1)
        id = std::vector<int64_t>{
            -1, vocabulary, -1000000, 2000000000, vocabulary - 1, 0}[t / 3 % 6];
      ids.set_flat(t, static_cast<double>(id));
    }
  }

  /// A copy is exact.
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double row = static_cast<double>(p.dim("T") * p.dim("D"));
    return {
        .bytes_read = row * bits(p.dtype("table")) / 8 + p.dim("T") * bits(p.dtype("ids")) / 8.0,
        .bytes_written = row * bits(p.dtype("y")) / 8};
  }
};

}  // namespace tessera::ops
