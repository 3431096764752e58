// SPDX-License-Identifier: Apache-2.0
// Rows of the routed tokens in the order of the experts.
#pragma once

#include "tessera/ops/moe/kernels/alignment.h"

namespace tessera::ops {

struct TokenGather {
  static Signature signature() {
    return {
        .name = "token_gather",
        .family = "moe",
        .rows = "56",
        .summary = "copies the rows named by pair numbers",
        .formula =
            "y[s,:] = x[slots[s] / fan,:], zeros where slots[s] = -1. x [R,D], slots i32 [S], y "
            "[S,D].",
        .source = "model.py:641 x[idx]",
        .tensors = {in("x", "R,D", {DType::bf16, DType::f8e4m3, DType::f32}),
                    in("slots", "S", {DType::i32}),
                    out("y", "S,D", {DType::bf16, DType::f8e4m3, DType::f32})},
        .attributes = {{"fan", 1}},
        .dynamic_dims = {"R", "S"},
    };
  }

  static void plan(PlanBuilder& b) {
    const auto fan = static_cast<int64_t>(b.attribute("fan"));
    const int64_t rows = std::min<int64_t>(8, b.m_class("S"));
    const int64_t columns = std::max<int64_t>(1, b.caps().program_grain / rows);
    b.kernel("copy", {(b.dim("D") + columns - 1) / columns, (b.dim("S") + rows - 1) / rows},
             {b.tensor("x"), b.tensor("slots"), b.tensor("y")},
             [=](KernelBuilder& k, View x, View slots, View y) {
               const Tile column = k.program_id(0) * columns, first = k.program_id(1) * rows;
               const Tile pairs = load(slots, {first}, {rows}, -1);
               const Tile row = select(pairs < 0, -1, pairs / fan);
               store(y, {first, column}, gather(x, {0, column}, row, columns));
             });
  }

  static void reference(const Reference& r) {
    const auto fan = static_cast<int64_t>(r.attribute("fan"));
    for (int64_t s = 0; s < r.dim("S"); ++s) {
      const auto pair = static_cast<int64_t>(r.in("slots").at({s}));
      for (int64_t d = 0; d < r.dim("D"); ++d)
        r.out("y").set({s, d}, pair < 0 ? 0 : r.in("x").at({pair / fan, d}));
    }
  }

  static void fill(Inputs& in) {
    HostTensor& slots = in.tensor("slots");
    const auto pairs = static_cast<int64_t>(in.problem().attribute("fan")) * in.problem().dim("R");
    for (int64_t s = 0; s < slots.numel(); ++s)
      slots.set({s},
                pairs == 0 || s % 5 == 3 ? -1.0 : static_cast<double>(in.integer(0, pairs - 1)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (DType dtype : {DType::bf16, DType::f8e4m3, DType::f32}) {
      const std::map<std::string, DType> dtypes = {{"x", dtype}, {"y", dtype}};
      for (int64_t S : {0, 1, 8, 13, 70})
        list.push_back({.dims = {{"R", 5}, {"D", 130}, {"S", S}},
                        .dtypes = dtypes,
                        .attributes = {{"fan", 6}}});
      list.push_back({.dims = {{"R", 9}, {"D", 4100}, {"S", 3}},
                      .dtypes = dtypes,
                      .attributes = {{"fan", 1}}});
      for (int64_t T : {1, 64, 512})
        list.push_back(bench_case({{"R", T}, {"D", 4096}, {"S", 6 * T}}, dtypes, {{"fan", 6}}));
    }
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("x").bytes() + p.tensor("slots").bytes()),
            .bytes_written = static_cast<double>(p.tensor("y").bytes())};
  }
};

}  // namespace tessera::ops
