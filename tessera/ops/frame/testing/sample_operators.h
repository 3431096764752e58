// SPDX-License-Identifier: Apache-2.0
// For tests: a right operator, and ones that are wrong in one way each, as authors get them wrong.
#pragma once

#include "tessera/ops/frame/operator.h"

namespace tessera::ops::testing {

/// y[t, d] = x[t, d] * scale + bias[d], through a workspace; bias may be left out.
struct SampleOp {
  static Signature signature() {
    return {.name = "sample",
            .family = "testing",
            .rows = "0",
            .summary = "scale and bias",
            .formula = "y = x * scale + bias",
            .source = "none",
            .tensors = {in("x", "T,D", {DType::f32, DType::bf16}),
                        optional(weight("bias", "D", {DType::f32})),
                        out("y", "T,D", {DType::f32, DType::bf16})},
            .attributes = {{"scale", 2}}};
  }
  static void plan(PlanBuilder& b) {
    const Arg x = b.tensor("x"), y = b.tensor("y");
    const Arg scaled = b.workspace("scaled", DType::f32, x.shape, {true, false});
    const double scale = b.attribute("scale");
    b.kernel("scale", {b.dim("T")}, {x, scaled}, [=](KernelBuilder& k, View from, View to) {
      const Tile row = k.program_id(0);
      k.for_range(0, from.extent(1), 16, [&](Tile c) {
        store(to, {row, c}, cast(load(from, {row, c}, {1, 16}), DType::f32) * scale);
      });
    });
    const auto copy = [](KernelBuilder& k, View from, View to) {
      const Tile row = k.program_id(0);
      k.for_range(0, from.extent(1), 16, [&](Tile c) {
        store(to, {row, c}, cast(load(from, {row, c}, {1, 16}), to.dtype()));
      });
    };
    if (!b.has("bias")) return b.kernel("copy", {b.dim("T")}, {scaled, y}, copy);
    b.kernel("add", {b.dim("T")}, {scaled, b.tensor("bias"), y},
             [](KernelBuilder& k, View from, View bias, View to) {
               const Tile row = k.program_id(0);
               k.for_range(0, from.extent(1), 16, [&](Tile c) {
                 store(to, {row, c},
                       cast(load(from, {row, c}, {1, 16}) + load(bias, {c}, {16}), to.dtype()));
               });
             });
  }
  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t d = 0; d < r.dim("D"); ++d)
        r.out("y").set({t, d}, r.in("x").at({t, d}) * r.attribute("scale") +
                                   (r.has("bias") ? r.in("bias").at({d}) : 0));
  }
  static std::vector<Case> cases() {
    std::vector<Case> all;
    for (int64_t rows : {0, 1, 3})
      all.push_back(
          {.dims = {{"T", rows}, {"D", 37}}, .dtypes = {{"x", DType::f32}, {"y", DType::f32}}});
    all.push_back({.dims = {{"T", 5}, {"D", 64}},
                   .dtypes = {{"x", DType::bf16}, {"bias", DType::f32}, {"y", DType::bf16}},
                   .attributes = {{"scale", 0.5}},
                   .note = "bias"});
    all.push_back(bench_case({{"T", 64}, {"D", 256}}, {{"x", DType::f32}, {"y", DType::f32}}));
    return all;
  }
  static Tolerance tolerance(const Problem&) { return {.scaled = 1e-6}; }
  static Cost cost(const Problem& p) {
    const double n = static_cast<double>(p.tensor("x").shape.numel());
    return {.bytes_read = 4 * n, .bytes_written = 4 * n, .flops = 2 * n};
  }
};

/// What a wrong operator does to its last dimension.
enum class Mistake : uint8_t {
  kWrongValue,      // element 5 is off
  kSkipsElement,    // element 5 is not written
  kReadsWorkspace,  // adds a workspace nobody wrote
  kWritesInput,     // sets element 0 of x
  kBadKernel,       // does not trace
  kReference,       // the reference forgets element 5
};

template <Mistake kMistake>
struct WrongOp {
  static Signature signature() {
    return {.name = "wrong",
            .family = "testing",
            .rows = "0",
            .summary = "copy, wrongly",
            .formula = "y = x",
            .source = "none",
            .tensors = {in("x", "T", {DType::f32}), out("y", "T", {DType::f32})}};
  }
  static void plan(PlanBuilder& b) {
    Arg x = b.tensor("x").with_access(Access::kReadWrite), y = b.tensor("y");
    const Arg garbage = b.workspace("garbage", DType::f32, {8});
    b.kernel("copy", {1}, {x, y, garbage}, [](KernelBuilder& k, View from, View to, View rest) {
      Tile tile = load(from, {0}, {8});
      const Tile i = k.iota({8}, 0);
      if (kMistake == Mistake::kWrongValue) tile = select(i == 5, tile + 1, tile);
      if (kMistake == Mistake::kReadsWorkspace) tile = tile + load(rest, {0}, {8});
      if (kMistake == Mistake::kBadKernel) tile = tile + k.zeros(DType::i32, {8});
      if (kMistake == Mistake::kSkipsElement)
        store_masked(to, {0}, tile, i != 5);
      else
        store(to, {0}, tile);
      if (kMistake == Mistake::kWritesInput) store_masked(from, {0}, tile + 1, i == 0);
    });
  }
  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      if (kMistake != Mistake::kReference || t != 5) r.out("y").set({t}, r.in("x").at({t}));
  }
  static std::vector<Case> cases() { return {{.dims = {{"T", 8}}}}; }
  static Tolerance tolerance(const Problem&) { return {}; }
  static Cost cost(const Problem&) { return {}; }
};

}  // namespace tessera::ops::testing
