// SPDX-License-Identifier: Apache-2.0
// Linear layer in f32 whatever the storage: router, compressor, mHC mixes, language-model head. Few
// columns leave a chip with instructions for tiles idle: K is split then, and a second kernel adds
// the parts in order.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "tessera/ops/gemm/kernels/product.h"

namespace tessera::ops {

struct GemmF32 {
  static Signature signature() {
    return {
        .name = "gemm_f32",
        .family = "gemm",
        .rows = "19,49,63",
        .summary = "matrix product in f32; bf16 operands are widened exactly",
        .formula =
            "y[t,n] = sum_k x[t,k] w[n,k] in f32 (no TF32). x [T,K] and w [N,K] f32 or bf16, y f32 "
            "[T,N].",
        .source =
            "model.py:325 compressor, model.py:565 gate, model.py:717 head: linear(x.float(), "
            "w.float())",
        .tensors = {in("x", "T,K", {DType::f32, DType::bf16}),
                    weight("w", "N,K", {DType::f32, DType::bf16}), out("y", "T,N", {DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    // bf16 weights are widened while they are multiplied; products of two bf16 numbers are exact.
    const bool wide = b.dtype("w") == DType::f32;
    const auto step = [=](const NamedViews& v, const gemm::Blocking& t, Tile m, Tile n, Tile k0,
                          Tile acc) {
      const Tile x = load(v["x"], {m, k0}, {t.m, t.k}), w = load(v["w"], {n, k0}, {t.n, t.k});
      return wide ? dot(cast(x, DType::f32), w, acc) : dot_scaled({x, {}}, {w, {}}, acc);
    };
    const int64_t parts = parts_of(b);
    if (parts > 1)
      plan_parts(b, parts, step);
    else
      gemm::plan_product(b, b.tensors({"x", "w", "y"}), DType::f32, step, gemm::as_it_is,
                         products(b));
  }

  /// f32 activations take too many registers on their way to matrix instructions; one row is read
  /// best by FMA.
  static gemm::Products products(const PlanBuilder& b) {
    const int64_t rows = b.m_class("T");
    if (b.dtype("x") != DType::bf16) return gemm::Products::kWide;
    const bool few = rows > 1 && rows <= 8 && b.dtype("w") == DType::bf16;
    return few ? gemm::Products::kExactInBf16 : gemm::Products::kF32;
  }
  static gemm::Blocking blocking(const PlanBuilder& b) {
    return gemm::blocking(b.caps(), b.product_class("T"), b.dim("K"), products(b));
  }

  /// Parts of K: a function of N, K and the class of T. As many as it takes for `kLeastPrograms` in
  /// a row of tiles; with more than 64 rows there are several rows of them.
  static int64_t parts_of(const PlanBuilder& b) {
    if (products(b) != gemm::Products::kF32 || !gemm::has_matrix_tile(b.caps(), b.m_class("T")))
      return 1;
    constexpr int64_t kShortest = 256, kLeastPrograms = 64, kLeastOfMany = 8;
    const int64_t columns = programs_for(b.dim("N"), blocking(b).n);
    const int64_t wanted = b.m_class("T") > 64 ? kLeastOfMany : kLeastPrograms;
    return std::clamp<int64_t>(wanted / std::max<int64_t>(columns, 1), 1,
                               std::max<int64_t>(b.dim("K") / kShortest, 1));
  }

  template <class Step>
  static void plan_parts(PlanBuilder& b, int64_t parts, Step step) {
    const int64_t rows = b.dim("T"), outputs = b.dim("N"), cols = b.caps().vector_tile / 4;
    const gemm::Blocking t = blocking(b);
    const int64_t part = round_up(programs_for(b.dim("K"), parts), t.k);
    Arg sums = b.workspace("sums", DType::f32, {parts, rows, outputs}, {false, true, false});
    std::vector<int64_t> grid = gemm::grid(t, rows, outputs);
    grid.push_back(parts);
    b.kernel_named("parts", grid, {b.tensor("x"), b.tensor("w"), sums.with_access(Access::kWrite)},
                   [=](KernelBuilder& k, const NamedViews& v) {
                     const auto [m, n] = gemm::start(k, t);
                     const Tile which = k.program_id(2), first = which * part;
                     const auto sum = k.for_range(
                         first, min(first + part, v["w"].extent(1)), t.k,
                         lang::carry(k.zeros(DType::f32, {t.m, t.n})),
                         [&](Tile k0, Tile acc) { return lang::carry(step(v, t, m, n, k0, acc)); });
                     store(v["sums"], {which, m, n}, reshape(sum[0], {1, t.m, t.n}));
                   });
    b.kernel("sum", {programs_for(rows * outputs, cols)},
             {sums.with_access(Access::kRead).reshaped({parts, rows * outputs}),
              b.tensor("y").reshaped({rows * outputs})},
             [=](KernelBuilder& k, View sums, View y) {
               const Tile first = k.program_id(0) * cols;
               Tile sum = load(sums, {0, first}, {cols});
               for (int64_t i = 1; i < parts; ++i) sum = sum + load(sums, {i, first}, {cols});
               store(y, {first}, sum);
             });
  }

  static void reference(const Reference& r) { gemm::plain_product(r, gemm::kBf16, "x"); }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    const DType f32 = DType::f32, bf16 = DType::bf16;
    for (int64_t T : {0, 1, 2, 3, 8, 9, 65})
      list.push_back(
          {.dims = {{"T", T}, {"N", 64}, {"K", 256}}, .dtypes = {{"x", f32}, {"w", f32}}});
    for (int64_t T : {1, 5, 17}) {
      list.push_back({.dims = {{"T", T}, {"N", 37}, {"K", 333}},
                      .dtypes = {{"x", f32}, {"w", f32}},
                      .note = "tails"});
      list.push_back({.dims = {{"T", T}, {"N", 37}, {"K", 333}},
                      .dtypes = {{"x", f32}, {"w", bf16}},
                      .note = "tails"});
      list.push_back({.dims = {{"T", T}, {"N", 37}, {"K", 333}},
                      .dtypes = {{"x", bf16}, {"w", f32}},
                      .note = "tails"});
      list.push_back({.dims = {{"T", T}, {"N", 37}, {"K", 333}},
                      .dtypes = {{"x", bf16}, {"w", bf16}},
                      .note = "tails"});
    }
    for (auto [x, w] : {std::pair(bf16, f32), std::pair(f32, f32), std::pair(f32, bf16)})
      for (int64_t T : {16, 80})
        list.push_back({.dims = {{"T", T}, {"N", 40}, {"K", 192}},
                        .dtypes = {{"x", x}, {"w", w}},
                        .note = kExtremes});
    list.push_back({.dims = {{"T", 70}, {"N", 24}, {"K", 2048}},
                    .dtypes = {{"x", bf16}, {"w", f32}},
                    .note = kOneSign});
    list.push_back({.dims = {{"T", 70}, {"N", 24}, {"K", 2048}},
                    .dtypes = {{"x", f32}, {"w", f32}},
                    .note = kOneSign});
    list.push_back({.dims = {{"T", 1}, {"N", 24}, {"K", 2048}},
                    .dtypes = {{"x", bf16}, {"w", f32}},
                    .note = "mix"});
    for (int64_t T : gemm::kBenchTokens)
      for (auto [N, K, w, note] :
           {std::tuple<int64_t, int64_t, DType, const char*>{256, 4096, bf16, "router"},
            {1024, 4096, bf16, "compressor, ratio 4"},
            {512, 4096, bf16, "compressor, ratio 128"},
            {24, 16384, f32, "mHC mix"}})
        list.push_back(
            bench_case({{"T", T}, {"N", N}, {"K", K}}, {{"x", bf16}, {"w", w}}, {}, note));
    for (int64_t T : {1, 8})
      list.push_back(bench_case({{"T", T}, {"N", 129280}, {"K", 4096}}, {{"x", bf16}, {"w", bf16}},
                                {}, "head"));
    for (int64_t T : {256, 1024})
      list.push_back(
          bench_case({{"T", T}, {"N", 1024}, {"K", 1024}}, {{"x", f32}, {"w", f32}}, {}, "square"));
    return list;
  }

  static constexpr const char* kExtremes = "NaN, infinities, largest and small numbers";
  static constexpr const char* kOneSign = "all of one sign";

  /// Each extreme meets numbers of its own; rows and columns from 4 on are ordinary.
  static void fill(Inputs& in) {
    HostTensor &x = in.tensor("x"), &w = in.tensor("w");
    if (in.test_case().note == kOneSign)
      for (HostTensor* side : {&x, &w})
        for (int64_t i = 0; i < side->numel(); ++i) side->set_flat(i, std::abs(in.uniform(0.5, 1)));
    if (in.test_case().note != kExtremes) return;
    for (int64_t k = 0; k < x.extent(1); ++k) x.set({0, k}, 0), w.set({1, k}, 0);
    x.set({0, 5}, 1), x.set({0, 70}, 1);  // sums of two weights each
    w.set({0, 5}, std::numeric_limits<float>::max()), w.set({0, 70}, 0);
    w.set({2, 5}, 0), w.set({2, 70}, 0x1.234566p-100);
    x.set({2, 7}, INFINITY), w.set({4, 7}, 1), w.set({5, 7}, -1.5);  // row 2: no finite sum
    w.set({3, 9}, -INFINITY), x.set({4, 9}, 1), x.set({5, 9}, -1.5);
    x.set({3, 11}, NAN), w.set({7, 12}, NAN);
  }

  /// A factor of either side may be wider than bf16.
  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), DType::f32);
  }

  static Cost cost(const Problem& p) { return gemm::linear_cost(p, "x"); }
};

}  // namespace tessera::ops
