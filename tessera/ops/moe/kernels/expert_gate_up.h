// SPDX-License-Identifier: Apache-2.0
// Gate and up of routed pairs, each a tile of its own, and the activation made of both. A program
// reads some rows of both matrices at once: few pairs are a read of weights, and two streams under
// way hide what either would wait for.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/ops/activation/swiglu_clamp.h"
#include "tessera/ops/moe/kernels/expert_product.h"
#include "tessera/ops/moe/kernels/gated_reference.h"
#include "tessera/ops/moe/kernels/product_cases.h"

namespace tessera::ops::moe {

/// Extents of a matrix's stack, "w1" or "w3", and of its scales': places, not experts.
inline std::string places_of(const std::string& w) { return "U" + w.substr(1); }
inline std::string scale_places_of(const std::string& w) { return "V" + w.substr(1); }

inline Signature gate_up_signature(const char* name, const gemm::WeightFormat& f,
                                   const std::string& kind, const char* source) {
  std::vector<TensorSpec> tensors = {in("x", "R,K", gemm::activation_dtypes()),
                                     gemm::activation_scales("x_scale", "R,K/128")};
  for (const std::string w : kGateUp) {
    tensors.push_back(weight(w, places_of(w) + ",N,K", {f.dtype}));
    tensors.push_back(
        weight(w + "_scale", scale_places_of(w) + "," + f.scale_dims, {f.scale_dtype()}));
    tensors.push_back(optional(weight(w + "_offsets", "E", {DType::i64})));
    tensors.push_back(optional(weight(w + "_scale_offsets", "E", {DType::i64})));
  }
  for (const TensorSpec& spec :
       {in("slots", "P", {DType::i32}), in("tile_expert", "P", {DType::i32}),
        in("tile_count", "1", {DType::i32}), in("weight", "P", {DType::f32}),
        inout("y", "P,N", {DType::bf16, DType::f32})})
    tensors.push_back(spec);
  return {
      .name = name,
      .family = "moe",
      .rows = "57,58,59",
      .summary =
          "gated activation of each routed pair's row with its expert's two " + kind + " matrices",
      .formula =
          "for every slot s < tile_count[0] with pair p = slots[s] >= 0, e = tile_expert[s]: gate "
          "= x[p/fan] w1[e]^T, up = x[p/fan] w3[e]^T as moe_gemm_* with tiles of one pair, each "
          "rounded to y's type; y[p] = weight[p] silu(min(gate, limit)) clamp(up, +-limit), in "
          "f32, one rounding to y; limit 0: no clamp. Rows of y without a slot keep their value. "
          "Tables of offsets as there.",
      .source = source,
      .tensors = std::move(tensors),
      .attributes = {{"fan", 1}, {"limit", 10}},
      .dynamic_dims = {"R", "P", "U1", "V1", "U3", "V3"},
  };
}

inline void plan_gate_up(PlanBuilder& b, const gemm::WeightFormat& f) {
  gemm::Blocking t =
      gemm::halved(gemm::blocking(b.caps(), 1, b.dim("K"), gemm::products_of(b.dtype("x"), f)));
  t.m = 1;  // a pair
  const auto fan = static_cast<int64_t>(b.attribute("fan"));
  const double limit = b.attribute("limit");
  const SwigluClamp::Silu silu = SwigluClamp::silu_of(b);
  const DType to = b.dtype("y");
  std::vector<std::string> names = {"x",          "x_scale", "slots", "tile_expert",
                                    "tile_count", "weight",  "y"};
  for (const std::string w : kGateUp)
    names.insert(names.end(), {w, w + "_scale", w + "_offsets", w + "_scale_offsets"});
  std::vector<Arg> args;
  for (const std::string& name : names)
    if (b.has(name)) args.push_back(b.tensor(name));
  b.kernel_named("gate_up", {(b.dim("N") + t.rows - 1) / t.rows, b.dim("P")}, args,
                 [=](KernelBuilder& k, const NamedViews& v) {
                   const Tile first = k.program_id(0) * t.rows, g = k.program_id(1);
                   const Tile expert = cast(load_scalar(v["tile_expert"], {g}), DType::i64);
                   const Tile pair = load(v["slots"], {g}, {1}, -1);
                   std::vector<std::pair<Tile, Tile>> places;
                   for (const std::string w : kGateUp)
                     places.emplace_back(place_of(v, w + "_offsets", expert),
                                         place_of(v, w + "_scale_offsets", expert));
                   // All that is read so far is under way before the first of it decides.
                   Tile used = (g < cast(load_scalar(v["tile_count"], {0}), DType::i64)) &
                               (reshape(pair, {}) >= 0);
                   for (const auto& [place, scale_place] : places)
                     used = used & (place >= 0) & (scale_place >= 0);
                   k.if_(used, [&] {
                     const Tile rows = fan == 1 ? pair : pair / fan;
                     const auto matrix = [&](size_t which, Tile n, Tile k0) {
                       return gemm::weights(f, v, kGateUp[which], places[which].first,
                                            places[which].second, n, k0, t);
                     };
                     gemm::walk_both(
                         k, t, first, v["w1"].extent(1), v["w1"].extent(2),
                         [&](Tile n, Tile k0, Tile gate, Tile up) {
                           const lang::ScaledOperand x = expert_rows(v, rows, k0, t);
                           return lang::carry(dot_scaled(x, matrix(0, n, k0), gate),
                                              dot_scaled(x, matrix(1, n, k0), up));
                         },
                         [&](Tile n, Tile gate, Tile up) {
                           const Tile row = reshape(pair, {});
                           const auto rounded = [&](Tile sum) {
                             return to == DType::f32 ? sum : round_to(sum, to);
                           };
                           const Tile h =
                               SwigluClamp::activate(rounded(gate), rounded(up), limit, silu);
                           store(v["y"], {row, n}, cast(h * load_scalar(v["weight"], {row}), to));
                         });
                   });
                 });
}

inline void plain_gate_up(const Reference& r, const gemm::WeightFormat& f) {
  const int64_t N = r.dim("N"), K = r.dim("K");
  const auto fan = static_cast<int64_t>(r.attribute("fan"));
  const auto tiles = static_cast<int64_t>(r.in("tile_count").at({0}));
  const bool rounded = r.problem().dtype("y") == DType::bf16;
  const auto round = [&](double v) {
    return rounded ? static_cast<double>(decode_bf16(encode_bf16(v))) : v;
  };
  const std::vector<double> x = gemm::decoded(r, "x", 1, 128);
  for (int64_t g = 0; g < tiles; ++g) {
    const auto expert = static_cast<int64_t>(r.in("tile_expert").at({g})),
               pair = static_cast<int64_t>(r.in("slots").at({g}));
    if (pair < 0) continue;
    const std::vector<double> w1 = expert_matrix(r, f, expert, "w1"),
                              w3 = expert_matrix(r, f, expert, "w3");
    for (int64_t n = 0; n < N; ++n) {
      const auto gate = gemm::dot_sum(&x[pair / fan * K], &w1[n * K], K),
                 up = gemm::dot_sum(&x[pair / fan * K], &w3[n * K], K);
      const double g = round(gate.value), u = round(up.value), w = r.in("weight").at({pair});
      r.out("y").set({pair, n}, SwigluClamp::expected(g, u, w, r.attribute("limit")),
                     std::abs(w) * gated_magnitude(g, u, gate, up, rounded));
    }
  }
}

inline constexpr const char* kSomeElsewhere = "some pairs elsewhere";

inline void fill_gate_up(Inputs& in) {
  HostTensor ids = routing(in);
  if (in.test_case().note == kSomeElsewhere)
    for (int64_t i = 0; i < ids.numel(); i += 3) ids.set_flat(i, -1);
  fill_tiles(in, ids, 1);
  gemm::fill_scales(in, "x_scale");
  fill_gated_scales(in, in.problem().dim("K"));
  for (const std::string w : kGateUp) {
    fill_table(in, w + "_offsets", in.problem().dim(places_of(w)), in.problem().dim("E"));
    fill_table(in, w + "_scale_offsets", in.problem().dim(scale_places_of(w)),
               in.problem().dim("E"));
  }
}

/// T tokens with 6 of `experts` experts each, a tile a pair.
inline Case gate_up_case(int64_t T, int64_t experts, int64_t N, int64_t K,
                         std::map<std::string, DType> dtypes, std::string note = {}) {
  return {.dims = {{"R", T},
                   {"P", 6 * T},
                   {"E", experts},
                   {"U1", experts},
                   {"V1", experts},
                   {"U3", experts},
                   {"V3", experts},
                   {"N", N},
                   {"K", K}},
          .dtypes = std::move(dtypes),
          .attributes = {{"fan", 6}},
          .note = std::move(note)};
}

/// The same with tables: matrices `stride` elements apart, more places for w3 than for w1.
inline Case with_gate_up_tables(Case c, int64_t places, int64_t stride) {
  for (const std::string w : kGateUp) {
    c.dims[places_of(w)] = c.dims[scale_places_of(w)] = places;
    c.dtypes[w + "_offsets"] = c.dtypes[w + "_scale_offsets"] = DType::i64;
    c.strides[w] = {stride, c.dims["K"], 1};
  }
  c.dims["U3"] += 3;
  c.dims["V3"] += 2;
  return c;
}

inline std::vector<Case> gate_up_cases(const gemm::WeightFormat& f) {
  const DType f32 = DType::f32, bf16 = DType::bf16, e4m3 = DType::f8e4m3;
  const auto exact = product_dtypes(e4m3, f32), native = product_dtypes(e4m3, bf16);
  std::vector<Case> list = {
      gate_up_case(1, 8, 64, 256, exact),
      gate_up_case(1, 8, 64, 256, native, kClamped),
      gate_up_case(2, 8, 33, 288, exact, "N, K tail"),
      gate_up_case(3, 8, 64, 1024, product_dtypes(bf16, bf16), kClamped),
      gate_up_case(1, 7, 33, 288, product_dtypes(f32, f32), "N, K tail"),
      gate_up_case(0, 8, 32, 256, native, "empty"),
      gate_up_case(2, 8, 64, 256, exact, kSomeElsewhere),
  };
  Case open = gate_up_case(1, 8, 64, 256, exact, kClamped);
  open.attributes["limit"] = 0;
  list.push_back(open);
  // Matrices at any byte, overlapping: what a stack of single tensors of a file is.
  Case anywhere =
      with_gate_up_tables(gate_up_case(1, 7, 8, 256, exact, "anywhere"), 200, elements_in(f, 1));
  for (const std::string w : kGateUp) anywhere.strides[w + "_scale"] = {1, 256 / f.scale_k, 1};
  list.push_back(anywhere);
  for (DType x : {e4m3, bf16})
    for (int64_t bytes : {0, 8}) {
      Case c = with_gate_up_tables(gate_up_case(1, 16, 2048, 4096, product_dtypes(x, bf16),
                                                bytes == 0 ? "aligned" : "at multiples of 8 bytes"),
                                   16, 2048 * 4096 + elements_in(f, bytes));
      c.bench = true;
      c.test = false;
      list.push_back(c);
    }
  return list;
}

/// Each expert that is used is read once.
inline Cost gate_up_cost(const Problem& p) {
  const auto N = static_cast<double>(p.dim("N")), K = static_cast<double>(p.dim("K")),
             pairs = static_cast<double>(p.dim("P"));
  const double used = std::min(pairs, static_cast<double>(p.dim("E")));
  Cost cost{.flops = 4 * pairs * N * K};
  for (const char* name : {"x", "x_scale"})
    if (p.has(name)) cost.bytes_read += static_cast<double>(p.tensor(name).bytes());
  const Shape& s = p.tensor("w1_scale").shape;
  cost.bytes_read += 2 * used *
                     (N * K * bits(p.dtype("w1")) / 8 +
                      static_cast<double>(s[1] * s[2]) * bits(p.dtype("w1_scale")) / 8);
  cost.bytes_written = static_cast<double>(p.tensor("y").bytes());
  return cost;
}

}  // namespace tessera::ops::moe
