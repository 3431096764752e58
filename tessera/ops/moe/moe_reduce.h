// SPDX-License-Identifier: Apache-2.0
// Sums the experts' outputs of each token, in ascending order of expert, and adds the shared
// expert's.
#pragma once

#include <algorithm>
#include <cmath>

#include "tessera/ops/moe/kernels/alignment.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct MoeReduce {
  static Signature signature() {
    return {
        .name = "moe_reduce",
        .family = "moe",
        .rows = "60,61",
        .summary = "sum of a token's expert outputs in ascending expert id, plus the shared expert",
        .formula =
            "out[t,d] = ((0 + y[t,j1,d]) + y[t,j2,d]) + .. + shared[t,d] in f32, one rounding to "
            "out, where "
            "ids[t,j1] <= ids[t,j2] <= .. (ties: lower j) and pairs with ids[t,j] < 0 (experts of "
            "another "
            "rank) are left out. y bf16 [T J,D], ids i32 [T,J], shared bf16 [T,D] or absent, out "
            "[T,D].",
        .source =
            "model.py:641 y[idx] += expert(x[idx], weights), model.py:644 y += shared_experts(x)",
        .tensors = {in("y", "T,J,D", {DType::bf16, DType::f32}), in("ids", "T,J", {DType::i32}),
                    optional(in("shared", "T,D", {DType::bf16, DType::f32})),
                    out("out", "T,D", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t count = b.dim("J");
    const int64_t slots = pow2_ceil(count);
    const int64_t columns = std::max<int64_t>(1, b.caps().program_grain / slots);
    const DType out_dtype = b.dtype("out");
    const std::vector<int64_t> grid = {(b.dim("D") + columns - 1) / columns, b.dim("T")};
    // `last(column)`: what is added after the experts.
    auto body = [=](KernelBuilder& k, const View& y, const View& ids, const View& out, auto last) {
      constexpr int kNone = 1 << 30;
      const Tile column = k.program_id(0) * columns, t = k.program_id(1);
      const Tile id = load(ids, {t, 0}, {slots}, -1);
      auto [key, order] = sort(select(id < 0, kNone, id), k.iota({slots}, 0), /*descending=*/false);
      const Tile rows = gather(y, {t, 0, column}, select(key == kNone, -1, order), columns);
      const Tile values = cast(rows, DType::f32);
      Tile sum = k.zeros(DType::f32, {1, columns});
      for (int64_t j = 0; j < count; ++j) sum = sum + slice(values, 0, j, 1);
      store(out, {t, column}, cast(last(t, column, sum), out_dtype));
    };
    if (b.has("shared")) {
      b.kernel("sum", grid, {b.tensor("y"), b.tensor("ids"), b.tensor("shared"), b.tensor("out")},
               [=](KernelBuilder& k, View y, View ids, View shared, View out) {
                 body(k, y, ids, out, [&](Tile t, Tile column, Tile sum) {
                   return sum + cast(load(shared, {t, column}, {1, columns}), DType::f32);
                 });
               });
    } else {
      b.kernel("sum", grid, {b.tensor("y"), b.tensor("ids"), b.tensor("out")},
               [=](KernelBuilder& k, View y, View ids, View out) {
                 body(k, y, ids, out, [](Tile, Tile, Tile sum) { return sum; });
               });
    }
  }

  static void reference(const Reference& r) {
    const int64_t J = r.dim("J");
    std::vector<std::pair<double, int64_t>> order;
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      order.clear();
      for (int64_t j = 0; j < J; ++j)
        if (r.in("ids").at({t, j}) >= 0) order.emplace_back(r.in("ids").at({t, j}), j);
      std::sort(order.begin(), order.end());
      for (int64_t d = 0; d < r.dim("D"); ++d) {
        // In f32, as the order of the roundings is what the operator promises.
        float sum = 0;
        for (const auto& [id, j] : order) sum += static_cast<float>(r.in("y").at({t, j, d}));
        if (r.has("shared")) sum += static_cast<float>(r.in("shared").at({t, d}));
        r.out("out").set({t, d}, sum);
      }
    }
  }

  static void fill(Inputs& in) {
    HostTensor& ids = in.tensor("ids");
    moe::fill_routing(in, ids, 256);
    if (in.test_case().note == "other ranks")
      for (int64_t i = 0; i < ids.numel(); ++i)
        if (i % 3 == 1 || i / ids.extent(1) == 1) ids.set_flat(i, -1);
    if (in.test_case().note != "order") return;
    // Large values of alternating sign: any other order gives other bits.
    HostTensor& y = in.tensor("y");
    for (int64_t i = 0; i < y.numel(); ++i)
      y.set_flat(i, in.normal() * std::ldexp(1.0, static_cast<int>(in.integer(0, 22))));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    const DType bf16 = DType::bf16, f32 = DType::f32;
    for (int64_t T : {0, 1, 2, 9})
      list.push_back({.dims = {{"T", T}, {"J", 6}, {"D", 130}},
                      .dtypes = {{"y", bf16}, {"shared", bf16}, {"out", bf16}}});
    list.push_back({.dims = {{"T", 3}, {"J", 6}, {"D", 700}},
                    .dtypes = {{"y", bf16}, {"out", f32}},
                    .note = "order"});
    list.push_back({.dims = {{"T", 3}, {"J", 6}, {"D", 64}},
                    .dtypes = {{"y", f32}, {"shared", f32}, {"out", f32}},
                    .note = "order"});
    list.push_back({.dims = {{"T", 4}, {"J", 6}, {"D", 64}},
                    .dtypes = {{"y", bf16}, {"shared", bf16}, {"out", f32}},
                    .note = "other ranks"});
    list.push_back(
        {.dims = {{"T", 4}, {"J", 1}, {"D", 64}}, .dtypes = {{"y", bf16}, {"out", bf16}}});
    for (int64_t T : {1, 8, 64, 512})
      list.push_back(bench_case({{"T", T}, {"J", 6}, {"D", 4096}},
                                {{"y", bf16}, {"shared", bf16}, {"out", bf16}}));
    return list;
  }

  /// Same additions in the same order.
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    Cost cost{.bytes_read = static_cast<double>(p.tensor("y").bytes() + p.tensor("ids").bytes()),
              .bytes_written = static_cast<double>(p.tensor("out").bytes()),
              .flops = static_cast<double>(p.tensor("y").shape.numel())};
    if (p.has("shared")) cost.bytes_read += static_cast<double>(p.tensor("shared").bytes());
    return cost;
  }
};

}  // namespace tessera::ops
