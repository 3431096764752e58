// SPDX-License-Identifier: Apache-2.0
// Rows of the quantised KV cache as bf16.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "tessera/ops/attention/kernels/quantised_row.h"

namespace tessera::ops {

struct KvDequantise {
  static Signature signature() {
    return {
        .name = "kv_dequantise",
        .family = "attention",
        .rows = "41",
        .summary = "Rows of the quantised cache, picked by a list or a range, decoded to bf16.",
        .formula =
            "y[m, :] = row rows[m] of cache, or row first + m without rows: code x scale for the "
            "first D-64 "
            "dimensions, the bf16 values behind; 0 where the row is not in the cache (-1)\n"
            "cache u8 [R, B] as kv_quant_insert writes it, rows [M] i32, y [M, D] bf16. All values "
            "are exact.",
        .source = "vLLM's dequantise_and_gather_k_cache",
        .tensors = {in("cache", "R,B", {DType::u8}), optional(in("rows", "M", {DType::i32})),
                    out("y", "M,D", {DType::bf16})},
        .attributes = {{"first", 0}},
        .dynamic_dims = {"R", "M"},
    };
  }

  /// [blocks, 64] codes and [blocks] scales as f32.
  static Tile values(Tile codes, Tile scales) {
    const int64_t blocks = scales.shape()[0];
    return to_f32(reshape(codes, {blocks, QuantisedRow::kBlock})) *
           reshape(to_f32(scales), {blocks, 1});
  }

  static void plan(PlanBuilder& b) {
    std::optional<Arg> listed;
    if (b.has("rows")) listed = b.tensor("rows");
    decode(b, QuantisedRow{b.dim("D")}, b.tensor("cache"), listed, b.tensor("y"), b.m_class("M"),
           static_cast<int64_t>(b.attribute("first")));
  }

  /// Adds the kernel that decodes the listed rows of `cache`, or those from `first` on, to y [M,
  /// D].
  static void decode(PlanBuilder& b, const QuantisedRow& layout, const Arg& cache,
                     const std::optional<Arg>& list, const Arg& y, int64_t class_of_M,
                     int64_t first) {
    constexpr int64_t kBlock = QuantisedRow::kBlock;
    const int64_t blocks =
        std::clamp<int64_t>(b.caps().vector_tile / kBlock, 1, pow2_ceil(layout.blocks()));
    const int64_t per_program =
        std::clamp<int64_t>(b.caps().program_grain / layout.width, 1, class_of_M);
    const bool listed = list.has_value();
    // Without a list the scales take its place, unread.
    b.kernel(
        "rows", {programs_for(y.shape[0], per_program)},
        {layout.codes(cache), layout.rope(cache), layout.scales(cache),
         listed ? *list : layout.scales(cache), y},
        {scalar_i64("first", first)},
        [=](KernelBuilder& k, View codes, View rope, View scales, View rows, View y, Tile first) {
          const View nope = y.bounded(1, layout.nope());
          for_program(k, 0, per_program, 1, y.extent(0), [&](Tile m) {
            const Tile row = listed ? cast(load_scalar(rows, {m}, -1), DType::i64) : first + m;
            k.for_range(0, layout.nope(), blocks * kBlock, [&](Tile d) {
              const Tile v = values(load(codes, {row, d}, {blocks * kBlock}),
                                    load(scales, {row, d / kBlock}, {blocks}, 1));
              store(nope, {m, d}, cast(reshape(v, {blocks * kBlock}), DType::bf16));
            });
            store(y, {m, layout.nope()}, load(rope, {row, 0}, {Rope::kDims}));
          });
        });
  }

  static void reference(const Reference& r) {
    const QuantisedRow layout{r.dim("D")};
    for (int64_t m = 0; m < r.dim("M"); ++m) {
      const int64_t row = r.has("rows") ? static_cast<int64_t>(r.in("rows").at({m}))
                                        : static_cast<int64_t>(r.attribute("first")) + m;
      const bool inside = row >= 0 && row < r.dim("R");
      const auto byte = [&](int64_t at) { return r.in("cache").at({row, at}); };
      for (int64_t d = 0; d < layout.width; ++d)
        r.out("y").set({m, d}, inside ? layout.decoded(byte, d) : 0);
    }
  }

  static std::vector<Case> cases() {
    const auto use = [](int64_t M, int64_t R, int64_t D, bool listed, double first = 0) {
      Case c{.dims = {{"M", M}, {"R", R}, {"D", D}, {"B", QuantisedRow{D}.bytes()}},
             .attributes = {{"first", first}}};
      if (listed) c.dtypes["rows"] = DType::i32;
      return c;
    };
    std::vector<Case> list = {use(40, 30, 512, true),      use(1, 9, 512, true),
                              use(20, 64, 512, false, 17), use(7, 9, 128, true),
                              use(3, 5, 192, false),       use(0, 4, 512, true)};
    for (const Case& c : {use(640, 65536, 512, true), use(8192, 8192, 512, false)})
      list.push_back(bench_case(c.dims, c.dtypes, c.attributes, c.note));
    return list;
  }

  static void fill(Inputs& in) {
    const Problem& p = in.problem();
    const QuantisedRow layout{p.dim("D")};
    for (int64_t row = 0; in.test_case().test && row < p.dim("R"); ++row)
      layout.fill(in, in.tensor("cache"), row, static_cast<int>(in.integer(-20, 20)));
    for (int64_t m = 0; p.has("rows") && m < p.dim("M"); ++m)
      in.tensor("rows").set({m}, static_cast<double>(in.integer(-1, p.dim("R") - 1)));
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.dim("M") * p.dim("B")),
            .bytes_written = static_cast<double>(p.tensor("y").bytes())};
  }
};

}  // namespace tessera::ops
