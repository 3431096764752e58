// SPDX-License-Identifier: Apache-2.0
// Sums that ranks made together, rounded to what the next operator reads.
#pragma once

#include <algorithm>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct Cast {
  static Signature signature() {
    return {
        .name = "cast",
        .family = "quant",
        .rows = "72",
        .summary = "f32 to bf16 or back, element by element; a copy where the types are one",
        .formula = "y = x rounded once to the type of y, to nearest even. x, y f32 or bf16 [T,D].",
        .source = "model.py:177 all_reduce(y.float()), then y.type_as(x)",
        .tensors = {in("x", "T,D", {DType::f32, DType::bf16}),
                    out("y", "T,D", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t count = b.dim("T") * b.dim("D");
    const int64_t tile = b.caps().vector_tile, span = std::max(tile, b.caps().program_grain);
    const DType to = b.dtype("y");
    b.kernel("elements", {programs_for(count, span)},
             {b.tensor("x").reshaped({count}), b.tensor("y").reshaped({count})},
             [=](KernelBuilder& k, View x, View y) {
               for_program(k, 0, span, tile, x.extent(0), [&](Tile first) {
                 store(y, {first}, cast(load(x, {first}, {tile}), to));
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t i = 0; i < r.in("x").numel(); ++i) r.out("y").set_flat(i, r.in("x").flat(i));
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types narrow = {{"x", DType::f32}, {"y", DType::bf16}};
    const Types wide = {{"x", DType::bf16}, {"y", DType::f32}};
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 70})
      for (const Types& types : {narrow, wide})
        list.push_back({.dims = {{"T", T}, {"D", 257}}, .dtypes = types});
    for (const DType same : {DType::f32, DType::bf16})
      list.push_back({.dims = {{"T", 3}, {"D", 257}}, .dtypes = {{"x", same}, {"y", same}}});
    for (int64_t T : {1, 64, 512}) list.push_back(bench_case({{"T", T}, {"D", 4096}}, narrow));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("x").bytes()),
            .bytes_written = static_cast<double>(p.tensor("y").bytes())};
  }
};

}  // namespace tessera::ops
