// SPDX-License-Identifier: Apache-2.0
// The indexer's keys, from the pooled entries to their cache.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tessera/ops/indexer/kernels/index_transform.h"
#include "tessera/ops/rope/rope.h"

namespace tessera::ops {

struct IndexKeyInsert {
  static Signature signature() {
    return {
        .name = "index_key_insert",
        .family = "indexer",
        .rows = "4,8,12,14,26",
        .summary = "Norm, rope, Hadamard rotation, FP4 simulation and insert of index keys.",
        .formula =
            "keys[slots[e], :] <- fp4_act_quant_simulate(rnd(hadamard(rnd(rope(rnd(rms_norm(x[e], "
            "w))))))), rnd to "
            "the dtype of keys; with simulate = 0 rope is the last step. An entry whose slot is "
            "outside keys (-1) "
            "is left out; slots are distinct\n"
            "x [E, 128], w [128], cos and sin [E, 32] f32 of the entries' own positions, slots [E] "
            "i32, keys "
            "[R, 128]",
        .source = "model.py:362-376",
        .tensors = {in("x", "E,128", {DType::bf16, DType::f32}),
                    in("w", "128", {DType::bf16, DType::f32}), in("cos", "E,32", {DType::f32}),
                    in("sin", "E,32", {DType::f32}), in("slots", "E", {DType::i32}),
                    inout("keys", "R,128", {DType::bf16, DType::f32})},
        .attributes = {{"eps", 1e-6}, {"simulate", 1}},
        .dynamic_dims = {"E", "R"},
    };
  }

  static void plan(PlanBuilder& b) {
    constexpr int64_t kDims = indexer::kDims, kStart = kDims - Rope::kDims;
    const double eps = b.attribute("eps");
    const bool simulate = b.attribute("simulate") != 0;
    const DType to = b.dtype("keys");
    b.kernel("entries", {b.dim("E")},
             {b.tensor("x"), b.tensor("w"), b.tensor("cos"), b.tensor("sin"), b.tensor("slots"),
              b.tensor("keys")},
             [=](KernelBuilder& k, View x, View w, View cos, View sin, View slots, View keys) {
               const Tile e = k.program_id(0), slot = load_scalar(slots, {e}, -1);
               k.if_(slot >= 0, [&] {
                 const Tile whole = to_f32(load(x, {e, 0}, {1, kDims}));
                 const Tile scale =
                     rsqrt(reduce_sum(whole * whole, 1) / static_cast<double>(kDims) + eps);
                 const auto normed = [&](int64_t start) {
                   const Tile v = to_f32(load(x, {e, start}, {1, Rope::kDims})) * scale *
                                  to_f32(load(w, {start}, {Rope::kDims}));
                   return to == DType::f32 ? v : round_to(v, to);
                 };
                 const Tile turned =
                     cast(Rope::rotate(normed(kStart), load(cos, {e, 0}, {1, Rope::kPairs}),
                                       load(sin, {e, 0}, {1, Rope::kPairs})),
                          to);
                 if (!simulate) {
                   store(keys, {slot, 0}, cast(normed(0), to));
                   store(keys, {slot, kStart}, turned);
                   return;
                 }
                 const Tile key = lang::concat(normed(0), to_f32(turned), 1);
                 store(keys, {slot, 0}, cast(indexer::transform(key, to), to));
               });
             });
  }

  static void reference(const Reference& r) {
    const DType dtype = r.problem().dtype("keys");
    std::vector<double> x(128);
    for (int64_t e = 0; e < r.dim("E"); ++e) {
      const auto slot = static_cast<int64_t>(r.in("slots").at({e}));
      if (slot < 0) continue;
      double squares = 0, magnitude = 0;
      for (int64_t d = 0; d < 128; ++d) squares += r.in("x").at({e, d}) * r.in("x").at({e, d});
      for (int64_t d = 0; d < 128; ++d) {
        double& value = x[static_cast<size_t>(d)];
        value = r.in("x").at({e, d}) / std::sqrt(squares / 128 + r.attribute("eps")) *
                r.in("w").at({d});
        magnitude = std::max(magnitude, std::abs(value));
      }
      indexer::round_all(x, dtype);
      indexer::turn(x, r, e);
      if (r.attribute("simulate") != 0) indexer::transform(x, dtype);
      for (int64_t d = 0; d < 128; ++d)
        r.out("keys").set({slot, d}, x[static_cast<size_t>(d)], magnitude);
    }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"x", DType::bf16}, {"w", DType::bf16}, {"keys", DType::bf16}};
    const Types f32 = {{"x", DType::f32}, {"w", DType::bf16}, {"keys", DType::f32}};
    const std::map<std::string, double> plain = {{"simulate", 0}};
    return {
        {{{"E", 1}, {"R", 40}}, bf16, {}, false, true, "decode"},
        {{{"E", 33}, {"R", 40}}, bf16, {}, false, true, "some slots -1"},
        {{{"E", 9}, {"R", 12}}, bf16, plain, false, true, "some slots -1"},
        {{{"E", 5}, {"R", 5}}, f32, {{"eps", 0.3}}, false, true, "zero row"},
        {{{"E", 7}, {"R", 11}}, f32, {{"simulate", 0}, {"eps", 0.3}}, false, true, "zero row"},
        {{{"E", 0}, {"R", 4}}, bf16},
        bench_case({{"E", 1}, {"R", 1024}}, bf16),
        bench_case({{"E", 129}, {"R", 1024}}, bf16),
    };
  }

  static void fill(Inputs& in) {
    Rope::fill_rotation(in);
    HostTensor &w = in.tensor("w"), &slots = in.tensor("slots"), &x = in.tensor("x");
    for (int64_t d = 0; d < w.numel(); ++d) w.set({d}, in.uniform(0.5, 1.5));
    std::vector<int64_t> free(static_cast<size_t>(in.problem().dim("R")));
    for (size_t i = 0; i < free.size(); ++i) free[i] = static_cast<int64_t>(i);
    std::shuffle(free.begin(), free.end(), in.random());
    for (int64_t e = 0; e < slots.numel(); ++e) {
      const bool skip = in.test_case().note == "some slots -1" && e % 4 == 2;
      slots.set({e}, skip ? -1 : static_cast<double>(free[static_cast<size_t>(e)]));
    }
    if (in.test_case().note == "zero row")
      for (int64_t d = 0; d < x.extent(1); ++d) x.set({3, d}, 0);
  }

  static std::string check(const Check& c) {
    return indexer::compare("keys", c.got("keys"), c.want("keys"), c.problem.flag("simulate"));
  }
  static Tolerance tolerance(const Problem&) { return {}; }  // see check()

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("E") * indexer::kDims);
    return {
        .bytes_read = elements * bits(p.dtype("x")) / 8 + 256.0 * static_cast<double>(p.dim("E")),
        .bytes_written = elements * bits(p.dtype("keys")) / 8,
        .flops = 20 * elements};
  }
};

}  // namespace tessera::ops
