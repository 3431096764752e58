// SPDX-License-Identifier: Apache-2.0
// The operator that run.sh adds: as short as one can be.
#pragma once

#include <cmath>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

struct Softsign {
  static Signature signature() {
    return {.name = "softsign",
            .family = "activation",
            .rows = "0",
            .summary = "x between -1 and 1",
            .formula = "y = x / (1 + |x|)",
            .source = "none",
            .tensors = {in("x", "T,D", {DType::bf16, DType::f32}),
                        out("y", "T,D", {DType::bf16, DType::f32})}};
  }

  static void plan(PlanBuilder& b) {
    const int64_t columns = b.caps().vector_tile;
    const DType to = b.dtype("y");
    b.kernel("rows", {b.dim("T")}, {b.tensor("x"), b.tensor("y")},
             [=](KernelBuilder& k, View x, View y) {
               const Tile row = k.program_id(0);
               k.for_range(0, x.extent(1), columns, [&](Tile c) {
                 const Tile v = cast(load(x, {row, c}, {1, columns}), DType::f32);
                 store(y, {row, c}, cast(v / (abs(v) + 1), to));
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t i = 0; i < r.in("x").numel(); ++i) {
      const double x = r.in("x").flat(i);
      r.out("y").set_flat(i, x / (1 + std::abs(x)));
    }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> bf16 = {{"x", DType::bf16}, {"y", DType::bf16}};
    const std::map<std::string, DType> f32 = {{"x", DType::f32}, {"y", DType::f32}};
    return {{{{"T", 3}, {"D", 512}}, bf16},
            {{{"T", 1}, {"D", 77}}, f32},
            {{{"T", 17}, {"D", 1}}, f32},
            {{{"T", 0}, {"D", 64}}, f32}};
  }

  static Tolerance tolerance(const Problem&) { return {.relative = 1e-6}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    return {.bytes_read = elements * bits(p.dtype("x")) / 8,
            .bytes_written = elements * bits(p.dtype("y")) / 8,
            .flops = 2 * elements};
  }
};

}  // namespace tessera::ops
