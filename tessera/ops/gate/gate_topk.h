// SPDX-License-Identifier: Apache-2.0
// Expert selection: the bias steers who is chosen, never with what weight.
#pragma once

#include <algorithm>
#include <limits>

#include "tessera/ops/gate/kernels/routing_weights.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct GateTopk {
  static Signature signature() {
    return {
        .name = "gate_topk",
        .family = "gate",
        .rows = "51,53",
        .summary = "top-J experts by biased score, weights from unbiased scores",
        .formula =
            "ids[t,0..J-1] = the J experts with the largest scores[t,e] + bias[e], largest first, "
            "ties: lower "
            "e; weights[t,j] = scores[t,ids[t,j]] / sum_j scores[t,ids[t,j]] * scale. scores f32 "
            "[T,E], "
            "bias f32 [E] or absent, ids i32 [T,J], weights f32 [T,J]. J <= E. With logits = 1 "
            "scores are logits, of which sqrt_softplus makes scores.",
        .source = "model.py:576-583 Gate.forward",
        .tensors = {in("scores", "T,E", {DType::f32}), optional(in("bias", "E", {DType::f32})),
                    out("ids", "T,J", {DType::i32}), out("weights", "T,J", {DType::f32})},
        .attributes = {{"scale", 1.5}, {"logits", 0}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t experts = pow2_ceil(b.dim("E")), count = b.dim("J"), columns = pow2_ceil(count);
    const int64_t rows =
        std::min(b.m_class("T"), std::max<int64_t>(1, b.caps().program_grain / experts));
    const double scale = b.attribute("scale");
    const bool logits = b.problem().flag("logits");
    const std::vector<int64_t> grid = {(b.dim("T") + rows - 1) / rows};
    auto body = [=](KernelBuilder& k, Tile t, Tile score, Tile key, const View& ids,
                    const View& weights) {
      constexpr double kNever = -std::numeric_limits<double>::infinity();
      const Tile expert = k.iota({rows, experts}, 1);
      gate::Columns best(k, DType::i32, rows, columns);
      std::vector<Tile> chosen;
      for (int64_t j = 0; j < count; ++j) {
        const Tile index = argmax(key, 1);
        const Tile here = expert == index;
        best.set(j, index);
        chosen.push_back(reduce_sum(select(here, score, 0.0), 1));
        key = select(here, kNever, key);
      }
      store(ids, {t, 0}, best.tile());
      store(weights, {t, 0}, gate::normalised(k, chosen, rows, columns, scale));
    };
    constexpr double kNever = -std::numeric_limits<double>::infinity();
    if (b.has("bias")) {
      b.kernel("select", grid,
               {b.tensor("scores"), b.tensor("bias"), b.tensor("ids"), b.tensor("weights")},
               [=](KernelBuilder& k, View scores, View bias, View ids, View weights) {
                 const Tile t = k.program_id(0) * rows;
                 const Tile score = gate::scores_of(load(scores, {t, 0}, {rows, experts}), logits);
                 body(k, t, score, score + load(bias, {0}, {experts}, kNever), ids, weights);
               });
    } else {
      b.kernel("select", grid, {b.tensor("scores"), b.tensor("ids"), b.tensor("weights")},
               [=](KernelBuilder& k, View scores, View ids, View weights) {
                 const Tile t = k.program_id(0) * rows;
                 const Tile score = gate::scores_of(load(scores, {t, 0}, {rows, experts}), logits);
                 const Tile counts = cast(k.iota({1, experts}, 1), DType::i64) < scores.extent(1);
                 body(k, t, score, select(counts, score, kNever), ids, weights);
               });
    }
  }

  static void reference(const Reference& r) {
    const int64_t E = r.dim("E");
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      std::vector<float> key(static_cast<size_t>(E));  // f32: a sum that rounds to a tie is one
      for (int64_t e = 0; e < E; ++e)
        key[static_cast<size_t>(e)] =
            static_cast<float>(gate::score(r, t, e)) +
            (r.has("bias") ? static_cast<float>(r.in("bias").at({e})) : 0.0f);
      std::vector<int64_t> order(static_cast<size_t>(E));
      for (int64_t e = 0; e < E; ++e) order[static_cast<size_t>(e)] = e;
      std::sort(order.begin(), order.end(),
                [&](int64_t a, int64_t b) { return key[a] != key[b] ? key[a] > key[b] : a < b; });
      order.resize(static_cast<size_t>(r.dim("J")));
      for (size_t j = 0; j < order.size(); ++j)
        r.out("ids").set({t, static_cast<int64_t>(j)}, static_cast<double>(order[j]));
      gate::reference_weights(r, t, order);
    }
  }

  static void fill(Inputs& in) {
    gate::fill_scores(in);
    const std::string& note = in.test_case().note;
    if (note == "ties")
      for (int64_t i = 0; i < in.tensor("scores").numel(); ++i)
        in.tensor("scores").set_flat(i, 0.25 * static_cast<double>(in.integer(1, 3)));
    if (!in.problem().has("bias")) return;
    HostTensor& bias = in.tensor("bias");
    for (int64_t e = 0; e < bias.numel(); ++e) bias.set({e}, note == "ties" ? 0.5 : in.normal(0.5));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    const std::map<std::string, DType> biased = {{"bias", DType::f32}};
    for (int64_t T : {0, 1, 2, 9, 33})
      list.push_back({.dims = {{"T", T}, {"E", 256}, {"J", 6}}, .dtypes = biased});
    list.push_back({.dims = {{"T", 5}, {"E", 256}, {"J", 6}}});
    const std::map<std::string, double> logits = {{"logits", 1}};
    for (int64_t T : {1, 9})
      list.push_back(
          {.dims = {{"T", T}, {"E", 256}, {"J", 6}}, .dtypes = biased, .attributes = logits});
    list.push_back({.dims = {{"T", 3}, {"E", 37}, {"J", 8}}, .attributes = logits});
    list.push_back(
        {.dims = {{"T", 5}, {"E", 37}, {"J", 8}}, .dtypes = biased, .note = "E, J of other sizes"});
    list.push_back(
        {.dims = {{"T", 3}, {"E", 6}, {"J", 6}}, .dtypes = biased, .note = "all experts"});
    list.push_back({.dims = {{"T", 3}, {"E", 5}, {"J", 1}}});
    list.push_back({.dims = {{"T", 9}, {"E", 256}, {"J", 6}}, .dtypes = biased, .note = "ties"});
    for (int64_t T : {1, 8, 64, 512})
      list.push_back(bench_case({{"T", T}, {"E", 256}, {"J", 6}}, biased));
    return list;
  }

  static Tolerance tolerance(const Problem& p) { return gate::tolerance(p); }

  static Cost cost(const Problem& p) {
    return {
        .bytes_read =
            static_cast<double>(p.tensor("scores").bytes()) + 4 * static_cast<double>(p.dim("E")),
        .bytes_written = static_cast<double>(p.tensor("ids").bytes() + p.tensor("weights").bytes()),
        .flops = static_cast<double>(p.dim("T") * p.dim("E") * p.dim("J"))};
  }
};

}  // namespace tessera::ops
