// SPDX-License-Identifier: Apache-2.0
// The language-model head: scores of the whole vocabulary for the rows that are asked for.
#pragma once

#include "tessera/ops/gemm/kernels/product.h"

namespace tessera::ops {

struct Logits {
  static Signature signature() {
    return {
        .name = "logits",
        .family = "head",
        .rows = "63",
        .summary = "logits of some rows: gather and matrix product with the head, in f32",
        .formula =
            "logits[r,v] = sum_k x[rows[r],k] w[v,k] in f32. x bf16 or f32 [T,D] after the last "
            "norm, rows i32 [R], w bf16 [V,D] widened exactly, logits f32 [R,V]; a row number "
            "outside [0,T) gives zeros.",
        .source = "model.py:716 ParallelHead.get_logits, model.py:717 linear(x.float())",
        .tensors = {in("x", "T,D", {DType::bf16, DType::f32}), in("rows", "R", {DType::i32}),
                    weight("w", "V,D", {DType::bf16}), out("logits", "R,V", {DType::f32})},
        .dynamic_dims = {"T", "R"},
    };
  }

  static void plan(PlanBuilder& b) {
    const gemm::Blocking t = gemm::blocking(b.caps(), b.product_class("R"), b.dim("D"),
                                            gemm::products_of(b.dtype("x"), gemm::kBf16));
    b.kernel("product", gemm::grid(t, b.dim("R"), b.dim("V")),
             {b.tensor("x"), b.tensor("rows"), b.tensor("w"), b.tensor("logits")},
             [=](KernelBuilder& k, View x, View rows, View w, View logits) {
               const auto [m, first] = gemm::start(k, t);
               const Tile chosen = load(rows, {m}, {t.m}, -1);
               gemm::walk_weights(
                   k, t, first, w.extent(0), w.extent(1), DType::f32,
                   [&](Tile n, Tile k0, Tile acc) {
                     return dot_scaled({gemm::rows_of(x, chosen, k0, t.k), {}},
                                       {load(w, {n, k0}, {t.n, t.k}), {}}, acc);
                   },
                   [&](Tile n, Tile sum) { store(logits, {m, n}, sum); });
             });
  }

  static void reference(const Reference& r) {
    const int64_t D = r.dim("D");
    const auto x = gemm::decoded(r.in("x")), w = gemm::decoded(r.in("w"));
    for (int64_t i = 0; i < r.dim("R"); ++i) {
      const auto row = static_cast<int64_t>(r.in("rows").at({i}));
      for (int64_t v = 0; v < r.dim("V"); ++v) {
        gemm::DotSum sum;
        if (row >= 0 && row < r.dim("T")) sum = gemm::dot_sum(&x[row * D], &w[v * D], D);
        r.out("logits").set({i, v}, sum.value, sum.magnitude);
      }
    }
  }

  static void fill(Inputs& in) {
    HostTensor& rows = in.tensor("rows");
    const int64_t T = in.problem().dim("T");
    for (int64_t i = 0; i < rows.numel(); ++i)
      rows.set({i}, i % 5 == 3 || T == 0 ? -1.0 : static_cast<double>(in.integer(0, T - 1)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (DType x : {DType::bf16, DType::f32}) {
      for (int64_t R : {0, 1, 2, 8, 9, 65})
        list.push_back(
            {.dims = {{"T", 70}, {"R", R}, {"V", 96}, {"D", 512}}, .dtypes = {{"x", x}}});
      for (int64_t R : {1, 5})
        list.push_back({.dims = {{"T", 3}, {"R", R}, {"V", 131}, {"D", 333}},
                        .dtypes = {{"x", x}},
                        .note = "V, D tail"});
    }
    list.push_back({.dims = {{"T", 0}, {"R", 4}, {"V", 32}, {"D", 64}},
                    .dtypes = {{"x", DType::bf16}},
                    .note = "no rows to choose from"});
    for (int64_t R : {1, 2, 4, 8, 64})
      for (DType x : {DType::bf16, DType::f32})
        list.push_back(
            bench_case({{"T", 64}, {"R", R}, {"V", 129280}, {"D", 4096}}, {{"x", x}}, {}, "Flash"));
    return list;
  }

  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("D"), p.dtype("x"));
  }

  static Cost cost(const Problem& p) {
    const double rows = static_cast<double>(p.dim("R"));
    return {.bytes_read = static_cast<double>(p.tensor("w").bytes()) +
                          rows * p.dim("D") * bits(p.dtype("x")) / 8,
            .bytes_written = static_cast<double>(p.tensor("logits").bytes()),
            .flops = 2 * rows * p.dim("V") * p.dim("D")};
  }
};

}  // namespace tessera::ops
