// SPDX-License-Identifier: Apache-2.0
// The norms of the query's low rank and of the key-value row, in one launch.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tessera/ops/norm/rms_norm.h"

namespace tessera::ops {

struct QKvRmsNorm {
  static Signature signature() {
    const std::vector<DType> both = {DType::bf16, DType::f32};
    return {
        .name = "q_kv_rms_norm",
        .family = "norm",
        .rows = "6",
        .summary = "Two RMS norms of the same tokens, q_norm and kv_norm, in one launch.",
        .formula =
            "q_out[t, :] = rms_norm(q[t, :], q_w), kv_out[t, :] = rms_norm(kv[t, :], kv_w), as "
            "rms_norm\n"
            "q, q_out [T, Q], q_w [Q], kv, kv_out [T, D], kv_w [D]; rows may be parts of wider "
            "ones.",
        .source = "model.py:183, 497, 504",
        .tensors = {in("q", "T,Q", both), in("q_w", "Q", both), in("kv", "T,D", both),
                    in("kv_w", "D", both), out("q_out", "T,Q", both), out("kv_out", "T,D", both)},
        .attributes = {{"eps", 1e-6}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t T = b.dim("T"), Q = b.dim("Q"), D = b.dim("D");
    const RowTiling q_rows = row_tiling(b, "T", Q), kv_rows = row_tiling(b, "T", D);
    const double eps = b.attribute("eps");
    const DType q_to = b.dtype("q_out"), kv_to = b.dtype("kv_out");
    const bool q_one_tile = q_rows.cols >= Q, kv_one_tile = kv_rows.cols >= D;
    b.kernel(
        "rows", {std::max(q_rows.programs(T), kv_rows.programs(T)), 2},
        {b.tensor("q"), b.tensor("q_w"), b.tensor("kv"), b.tensor("kv_w"), b.tensor("q_out"),
         b.tensor("kv_out")},
        [=](KernelBuilder& k, View q, View q_w, View kv, View kv_w, View q_out, View kv_out) {
          k.if_(
              k.program_id(1) == 0,
              [&] { RmsNorm::normalise(k, q, q_w, q_out, q_rows, eps, q_to, q_one_tile); },
              [&] { RmsNorm::normalise(k, kv, kv_w, kv_out, kv_rows, eps, kv_to, kv_one_tile); });
        });
  }

  static void reference(const Reference& r) {
    for (const auto& [x, w, y, width] : {std::tuple("q", "q_w", "q_out", r.dim("Q")),
                                         std::tuple("kv", "kv_w", "kv_out", r.dim("D"))})
      for (int64_t t = 0; t < r.dim("T"); ++t) {
        double squares = 0;
        for (int64_t d = 0; d < width; ++d) squares += std::pow(r.in(x).at({t, d}), 2);
        const double root = std::sqrt(squares / static_cast<double>(width) + r.attribute("eps"));
        for (int64_t d = 0; d < width; ++d)
          r.out(y).set({t, d}, r.in(x).at({t, d}) / root * r.in(w).at({d}));
      }
  }

  static std::vector<Case> cases() {
    std::map<std::string, DType> bf16, f32, mixed;
    for (const char* name : {"q", "q_w", "kv", "kv_w", "q_out", "kv_out"}) {
      bf16[name] = mixed[name] = DType::bf16;
      f32[name] = DType::f32;
    }
    mixed["q"] = mixed["q_out"] = mixed["kv_w"] = DType::f32;
    return {
        {{{"T", 1}, {"Q", 1024}, {"D", 512}}, bf16, {}, false, true, "Flash"},
        {{{"T", 17}, {"Q", 1536}, {"D", 512}}, bf16, {}, false, true, "Pro"},
        {{{"T", 70}, {"Q", 128}, {"D", 128}}, f32},
        {{{"T", 9}, {"Q", 77}, {"D", 300}}, mixed, {{"eps", 0.25}}, false, true, "odd widths"},
        {{{"T", 5}, {"Q", 24}, {"D", 2000}}, f32, {}, false, true, "kv wider than q"},
        {{{"T", 0}, {"Q", 1024}, {"D", 512}}, bf16},
        bench_case({{"T", 1}, {"Q", 1024}, {"D", 512}}, bf16),
        bench_case({{"T", 512}, {"Q", 1024}, {"D", 512}}, bf16),
    };
  }

  static void fill(Inputs& in) {
    for (const char* name : {"q_w", "kv_w"}) {
      HostTensor& w = in.tensor(name);
      for (int64_t d = 0; d < w.numel(); ++d) w.set({d}, in.uniform(0.5, 1.5));
    }
  }

  /// As rms_norm.
  static Tolerance tolerance(const Problem& p) { return RmsNorm::tolerance(p); }

  static Cost cost(const Problem& p) {
    Cost cost{.flops = 4 * static_cast<double>(p.dim("T") * (p.dim("Q") + p.dim("D")))};
    for (const char* name : {"q", "q_w", "kv", "kv_w"})
      cost.bytes_read += static_cast<double>(p.tensor(name).bytes());
    for (const char* name : {"q_out", "kv_out"})
      cost.bytes_written += static_cast<double>(p.tensor(name).bytes());
    return cost;
  }
};

}  // namespace tessera::ops
