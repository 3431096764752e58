// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/moe.h"

#include <algorithm>
#include <bit>
#include <vector>

namespace tessera::model::deepseek_v4 {
namespace {

struct Route {
  Value ids, weights;  // [T, J], i32 and f32
};

/// Pairs sorted by expert in tiles of `block`.
struct Tiles {
  Value slots, expert, count;
  double block;
};

Route route(Pass& p, const MoeWeights& w, Value x, Value tokens) {
  const int64_t rows = p.b.shape(x)[0], chosen = p.config.experts_per_token;
  const Value logits = linear_f32(p, x, w.gate);
  const Value scores = p.b.temporary(DType::f32, p.b.shape(logits));
  p.b.call("sqrt_softplus", {{"x", logits}, {"y", scores}});
  const Route route{p.b.temporary(DType::i32, {rows, chosen}),
                    p.b.temporary(DType::f32, {rows, chosen})};
  const double scale = p.config.route_scale;
  if (w.tid2eid)
    p.b.call("hash_route",
             {{"tokens", tokens},
              {"table", p.weight(w.tid2eid)},
              {"scores", scores},
              {"ids", route.ids},
              {"weights", route.weights}},
             {{"scale", scale}});
  else
    p.b.call("gate_topk",
             {{"scores", scores},
              {"bias", p.weight(w.bias)},
              {"ids", route.ids},
              {"weights", route.weights}},
             {{"scale", scale}});
  if (p.ranks.differ) {
    p.b.broadcast(route.ids, 0, p.ranks.world);
    p.b.broadcast(route.weights, 0, p.ranks.world);
  }
  return route;
}

/// The ids of the rank's own experts, from 0; -1: elsewhere.
Value local_ids(Pass& p, Value ids) {
  if (!p.ranks.several()) return ids;
  const Share own = expert_share(p.config, p.ranks.rank);
  const Value local = p.b.temporary(DType::i32, p.b.shape(ids));
  p.b.call(
      "local_experts", {{"ids", ids}, {"local", local}},
      {{"first", static_cast<double>(own.begin)}, {"count", static_cast<double>(own.count())}});
  return local;
}

Tiles align(Pass& p, Value ids) {
  const int64_t pairs = p.b.shape(ids).numel();
  const int64_t experts = expert_share(p.config, p.ranks.rank).count();
  const int64_t block = expert_block(pairs, p.config.experts, p.numerics.deterministic);
  const int64_t tiles = block == 1 ? pairs : (pairs + block - 1) / block + std::min(experts, pairs);
  const Tiles t{p.b.temporary(DType::i32, {tiles * block}), p.b.temporary(DType::i32, {tiles}),
                p.b.temporary(DType::i32, {1}), static_cast<double>(block)};
  p.b.call("moe_align",
           {{"ids", ids}, {"slots", t.slots}, {"tile_expert", t.expert}, {"tile_count", t.count}},
           {{"experts", static_cast<double>(experts)}, {"block", t.block}});
  return t;
}

const char* expert_product(DType weights) {
  switch (weights) {
    case DType::f4e2m1: return "moe_gemm_fp4";
    case DType::i8: return "moe_gemm_int8";
    case DType::bf16: return "moe_gemm_bf16";
    default: return "moe_gemm_fp8";
  }
}

/// Each pair's row times its expert's matrix [pairs, N]; `fan` pairs share a row of x.
Value expert_linear(Pass& p, const Activation& x, const ExpertStack& w, const Tiles& tiles,
                    int64_t pairs, int64_t fan) {
  const Value y = p.value({pairs, w.w.desc.shape[1]});
  const bool codes = p.numerics.official;
  std::vector<ProgramBuilder::Operand> operands = {{"x", codes ? x.codes : x.plain},
                                                   {"w", p.weight(w.w)},
                                                   {"offsets", p.weight(w.offsets)},
                                                   {"slots", tiles.slots},
                                                   {"tile_expert", tiles.expert},
                                                   {"tile_count", tiles.count},
                                                   {"y", y}};
  if (w.scale)
    operands.insert(operands.end(), {{"x_scale", codes ? x.scales : Value{}},
                                     {"w_scale", p.weight(w.scale)},
                                     {"scale_offsets", p.weight(w.scale_offsets)}});
  p.b.call(expert_product(w.w.desc.dtype), operands,
           {{"block", tiles.block}, {"fan", static_cast<double>(fan)}});
  return y;
}

/// silu(gate) up, clamped, times the pair's routing weight; rounded before w2 as officially.
Activation gated(Pass& p, Value gate, Value up, Value weights) {
  const Shape shape = p.b.shape(gate);
  const double limit = p.config.swiglu_limit;
  Activation y;
  if (!p.numerics.official) {
    y.plain = p.value(shape);
    p.b.call("swiglu_clamp", {{"gate", gate}, {"up", up}, {"y", y.plain}, {"weight", weights}},
             {{"limit", limit}});
    return y;
  }
  y.codes = p.b.temporary(DType::f8e4m3, shape);
  y.scales = p.b.temporary(DType::f8e8m0, {shape[0], (shape[1] + 127) / 128});
  p.b.call("swiglu_clamp_quant",
           {{"gate", gate}, {"up", up}, {"q", y.codes}, {"s", y.scales}, {"weight", weights}},
           {{"limit", limit}});
  return y;
}

/// The shared expert product by product: where a scale block of its width lies on several ranks,
/// and without scales.
Value shared_in_steps(Pass& p, const MoeWeights& w, const Activation& x) {
  const Value gate = linear(p, x, w.shared_w1), up = linear(p, x, w.shared_w3);
  const Value h = p.value(p.b.shape(gate));
  p.b.call("swiglu_clamp", {{"gate", gate}, {"up", up}, {"y", h}},
           {{"limit", p.config.swiglu_limit}});
  const Activation in = part_of_block(p, h, p.ranks.width_block);
  return p.ranks.several() ? partial_linear(p, in, w.shared_w2) : linear(p, in, w.shared_w2);
}

/// The rank's part of the shared expert; absent where it has none.
Value shared(Pass& p, const MoeWeights& w, const Activation& x) {
  const bool codes = p.numerics.official;
  if (w.shared_w1.w.desc.shape[0] == 0) return {};
  if (!w.shared_w1.scale || (codes && splits_width_blocks(p.config, p.ranks.rank.count)))
    return shared_in_steps(p, w, x);
  const Value in = codes ? x.codes : x.plain;
  const Value y =
      p.b.temporary(p.ranks.several() ? DType::f32 : p.numerics.activation, p.b.shape(in));
  p.b.call("shared_expert",
           {{"x", in},
            {"x_scale", codes ? x.scales : Value{}},
            {"w1", p.weight(w.shared_w1.w)},
            {"w1_scale", p.weight(w.shared_w1.scale)},
            {"w3", p.weight(w.shared_w3.w)},
            {"w3_scale", p.weight(w.shared_w3.scale)},
            {"w2", p.weight(w.shared_w2.w)},
            {"w2_scale", p.weight(w.shared_w2.scale)},
            {"y", y}},
           {{"limit", p.config.swiglu_limit}});
  return y;
}

/// Outputs of the rank's experts [T, J, D] for the pairs that `local` names.
Value routed(Pass& p, const MoeWeights& w, const Activation& x, const Route& r, Value local) {
  const int64_t rows = p.b.shape(x.plain)[0], width = p.b.shape(x.plain)[1];
  const int64_t chosen = p.config.experts_per_token, pairs = rows * chosen;
  const Tiles tiles = align(p, local);
  p.b.section("experts");
  const Value gate = expert_linear(p, x, w.w1, tiles, pairs, chosen);
  const Value up = expert_linear(p, x, w.w3, tiles, pairs, chosen);
  const Activation hidden = gated(p, gate, up, p.b.reshaped(r.weights, {pairs}));
  return p.b.reshaped(expert_linear(p, hidden, w.w2, tiles, pairs, 1), {rows, chosen, width});
}

}  // namespace

int64_t expert_block(int64_t pairs, int64_t experts, bool deterministic) {
  // One block for all sizes of a step: the order of a row's sum follows from it.
  if (deterministic) return 64;
  const int64_t twice_the_mean = (2 * pairs + experts - 1) / experts;
  if (twice_the_mean <= 1) return 1;
  return std::min<int64_t>(
      64, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(twice_the_mean))));
}

Value moe(Pass& p, const MoeWeights& w, const Activation& x, Value tokens) {
  const int64_t rows = p.b.shape(x.plain)[0], width = p.b.shape(x.plain)[1];
  p.b.section("router");
  const Route r = route(p, w, x.plain, tokens);
  Value local = local_ids(p, r.ids), y;
  if (w.w1.w) {
    y = routed(p, w, x, r, local);
  } else {  // no expert is here: nothing of y is taken, whatever it is
    y = p.b.reshaped(x.plain, {rows, 1, width});
    local = p.b.narrowed(local, 1, 0, 1);
  }
  p.b.section("shared expert");
  const Value out =
      p.b.temporary(p.ranks.several() ? DType::f32 : p.numerics.activation, {rows, width});
  p.b.call("moe_reduce", {{"y", y}, {"ids", local}, {"shared", shared(p, w, x)}, {"out", out}});
  return p.ranks.several() ? summed(p, out, "expert sum") : out;
}

}  // namespace tessera::model::deepseek_v4
