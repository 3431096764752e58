// SPDX-License-Identifier: Apache-2.0
// Gate, up and the activation made of both, of an expert with FP8 weights: what `shared_expert` and
// `gate_up_fp8` have in common. Tensors x, x_scale, w1, w1_scale, w3, w3_scale; attribute limit.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/ops/activation/swiglu_clamp.h"
#include "tessera/ops/gemm/kernels/product.h"
#include "tessera/ops/moe/kernels/gated_reference.h"
#include "tessera/ops/norm/rms_norm_quant.h"

namespace tessera::ops::moe {

/// The tensors that plan_gate_and_up() and plan_gated_row() read, and those behind them.
inline std::vector<TensorSpec> gate_up_tensors(std::initializer_list<TensorSpec> more) {
  std::vector<TensorSpec> all = {in("x", "T,D", gemm::activation_dtypes()),
                                 gemm::activation_scales("x_scale", "T,D/128")};
  for (const std::string w : kGateUp) {
    all.push_back(weight(w, "I,D", {DType::f8e4m3}));
    all.push_back(weight(w + "_scale", "I/128,D/128", {DType::f8e8m0}));
  }
  all.insert(all.end(), more);
  return all;
}

/// A step for products over `k` elements.
inline gemm::Blocking expert_blocking(const PlanBuilder& b, int64_t k) {
  return gemm::blocking(b.caps(), b.product_class("T"), k,
                        gemm::products_of(b.dtype("x"), gemm::kFp8));
}

/// Sums of rows [m, m + t.m) of `a` with the program's rows of `w`.
template <class Emit>
void expert_sums(KernelBuilder& k, const gemm::Blocking& t, const NamedViews& v, std::string_view a,
                 std::string_view w, Tile m, Tile first, Emit emit) {
  gemm::walk_weights(
      k, t, first, v[w].extent(0), v[w].extent(1), DType::f32,
      [&](Tile n, Tile k0, Tile acc) {
        return dot_scaled(gemm::activations(v, a, m, k0, t),
                          gemm::weights(gemm::kFp8, v, w, n, k0, t), acc);
      },
      emit);
}

/// gate_up [2, T, I]. A program works for w1 or for w3, so that each reads one stream.
inline void plan_gate_and_up(PlanBuilder& b, const Arg& gate_up) {
  const gemm::Blocking t = expert_blocking(b, b.dim("D"));
  std::vector<int64_t> grid = gemm::grid(t, b.dim("T"), b.dim("I"));
  grid.push_back(2);
  std::vector<Arg> args = b.tensors({"x", "x_scale", "w1", "w1_scale", "w3", "w3_scale"});
  args.push_back(gate_up.with_access(Access::kWrite));
  const DType to = gate_up.dtype;
  b.kernel_named("gate_up", grid, args, [=](KernelBuilder& k, const NamedViews& v) {
    const auto [m, first] = gemm::start(k, t);
    const Tile which = k.program_id(2);
    auto emit = [&](Tile n, Tile sum) { store(v["gate_up"], {which, m, n}, cast(sum, to)); };
    k.if_(
        which == 0, [&] { expert_sums(k, t, v, "x", "w1", m, first, emit); },
        [&] { expert_sums(k, t, v, "x", "w3", m, first, emit); });
  });
}

/// The activation h [T, I] of one row, named `h`, in one pass over both matrices: two streams under
/// way hide what either would wait for.
inline void plan_gated_row(PlanBuilder& b, const Arg& h) {
  const gemm::Blocking t = gemm::halved(expert_blocking(b, b.dim("D")));
  const double limit = b.attribute("limit");
  const SwigluClamp::Silu silu = SwigluClamp::silu_of(b);
  std::vector<Arg> args = b.tensors({"x", "x_scale", "w1", "w1_scale", "w3", "w3_scale"});
  args.push_back(h.with_access(Access::kWrite));
  const DType to = h.dtype;
  b.kernel_named(
      "gated_row", gemm::grid(t, b.dim("T"), b.dim("I")), args,
      [=, name = h.name](KernelBuilder& k, const NamedViews& v) {
        const auto [m, first] = gemm::start(k, t);
        const auto rounded = [&](Tile sum) { return to == DType::f32 ? sum : round_to(sum, to); };
        gemm::walk_both(
            k, t, first, v["w1"].extent(0), v["w1"].extent(1),
            [&](Tile n, Tile k0, Tile gate, Tile up) {
              const lang::ScaledOperand x = gemm::activations(v, "x", m, k0, t);
              return lang::carry(dot_scaled(x, gemm::weights(gemm::kFp8, v, "w1", n, k0, t), gate),
                                 dot_scaled(x, gemm::weights(gemm::kFp8, v, "w3", n, k0, t), up));
            },
            [&](Tile n, Tile gate, Tile up) {
              store(v[name], {m, n},
                    cast(SwigluClamp::activate(rounded(gate), rounded(up), limit, silu), to));
            });
      });
}

/// What a kernel over groups of 128 columns makes of h, f32: h as it is, or e4m3 codes and scales.
inline void store_activation(const NamedViews& v, Tile h, DType inner, Tile t, Tile group) {
  if (v.has("h_scale")) {
    const auto q = ActQuant::quantise(round_to(h, inner));
    store(v["h"], {t, group * 128}, q.codes);
    store(v["h_scale"], {t, group}, ActQuant::stored_scale(q.exponent, DType::f8e8m0));
  } else {
    store(v["h"], {t, group * 128}, cast(h, inner));
  }
}

/// `h`: one tensor "h", or e4m3 codes "h" and their scales "h_scale". `from`: gate_up [2, T, I], or
/// the activation [T, I] that is to be quantised.
inline void plan_activation(PlanBuilder& b, const Arg& from, const std::vector<Arg>& h) {
  const int64_t T = b.dim("T"), I = b.dim("I");
  const int64_t rows =
      std::min<int64_t>(b.m_class("T"), std::max<int64_t>(1, b.caps().program_grain / 128));
  const double limit = b.attribute("limit");
  const SwigluClamp::Silu silu = SwigluClamp::silu_of(b);
  const DType inner = from.dtype;
  const bool both = from.shape.rank() == 3;
  std::vector<Arg> args = {from.with_access(Access::kRead)};
  for (const Arg& arg : h) args.push_back(arg.with_access(Access::kWrite));
  b.kernel_named(both ? "swiglu" : "quantise", {(T + rows - 1) / rows, (I + 127) / 128}, args,
                 [=, name = from.name](KernelBuilder& k, const NamedViews& v) {
                   const Tile t = k.program_id(0) * rows, group = k.program_id(1);
                   const auto half = [&](int which) {
                     return to_f32(load(v[name], {which, t, group * 128}, {rows, 128}));
                   };
                   const Tile value = both ? SwigluClamp::activate(half(0), half(1), limit, silu)
                                           : to_f32(load(v[name], {t, group * 128}, {rows, 128}));
                   store_activation(v, value, inner, t, group);
                 });
}

}  // namespace tessera::ops::moe
