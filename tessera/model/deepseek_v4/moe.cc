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
  const Route route{p.b.temporary(DType::i32, {rows, chosen}),
                    p.b.temporary(DType::f32, {rows, chosen})};
  const double scale = p.config.route_scale;
  if (w.tid2eid)
    p.b.call("hash_route",
             {{"tokens", tokens},
              {"table", p.weight(w.tid2eid)},
              {"scores", logits},
              {"ids", route.ids},
              {"weights", route.weights}},
             {{"scale", scale}, {"logits", 1}});
  else
    p.b.call("gate_topk",
             {{"scores", logits},
              {"bias", p.weight(w.bias)},
              {"ids", route.ids},
              {"weights", route.weights}},
             {{"scale", scale}, {"logits", 1}});
  if (p.ranks.differ && !p.step.shares_rows()) {  // else a row's owner chooses
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
  // Tiles of one pair need no order, and no pair is left out where all experts are here.
  if (block == 1 && !p.ranks.several() && pairs < StepTables::kNumbers)
    return {p.b.narrowed(p.step.numbers, 0, 0, pairs), p.b.reshaped(ids, {pairs}),
            p.b.narrowed(p.step.numbers, 0, pairs, 1), 1};
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

/// What gated() makes of the rows of single pairs, from both matrices of FP4 experts in one pass.
Activation gated_in_one_pass(Pass& p, const Activation& x, const MoeWeights& w, const Tiles& tiles,
                             Value weights, int64_t fan) {
  const Value h = p.value({p.b.shape(weights)[0], w.w1.w.desc.shape[1]});
  p.b.call("moe_gate_up_fp4",
           {{"x", x.codes},
            {"x_scale", x.scales},
            {"w1", p.weight(w.w1.w)},
            {"w1_scale", p.weight(w.w1.scale)},
            {"w1_offsets", p.weight(w.w1.offsets)},
            {"w1_scale_offsets", p.weight(w.w1.scale_offsets)},
            {"w3", p.weight(w.w3.w)},
            {"w3_scale", p.weight(w.w3.scale)},
            {"w3_offsets", p.weight(w.w3.offsets)},
            {"w3_scale_offsets", p.weight(w.w3.scale_offsets)},
            {"slots", tiles.slots},
            {"tile_expert", tiles.expert},
            {"tile_count", tiles.count},
            {"weight", weights},
            {"y", h}},
           {{"fan", static_cast<double>(fan)}, {"limit", p.config.swiglu_limit}});
  return activation(p, h);
}

/// Whether the rank has a part of the shared expert and the others have the rest.
bool has_shared_part(const Pass& p) {
  return p.ranks.several() && p.ranks.rank.experts == ExpertExchange::all_reduce;
}

/// The shared expert product by product: where a scale block of its width lies on several ranks,
/// and without scales.
Value shared_in_steps(Pass& p, const MoeWeights& w, const Activation& x) {
  const Value gate = linear(p, x, w.shared_w1), up = linear(p, x, w.shared_w3);
  const Value h = p.value(p.b.shape(gate));
  p.b.call("swiglu_clamp", {{"gate", gate}, {"up", up}, {"y", h}},
           {{"limit", p.config.swiglu_limit}});
  const Activation in = part_of_block(p, h, p.ranks.width_block);
  return has_shared_part(p) ? partial_linear(p, in, w.shared_w2) : linear(p, in, w.shared_w2);
}

/// The shared expert or the rank's part of it; absent where it has none.
Value shared(Pass& p, const MoeWeights& w, const Activation& x) {
  const bool codes = p.numerics.official;
  if (w.shared_w1.w.desc.shape[0] == 0) return {};
  if (!w.shared_w1.scale || (codes && splits_width_blocks(p.config, p.ranks.rank)))
    return shared_in_steps(p, w, x);
  const Value in = codes ? x.codes : x.plain;
  const Value y =
      p.b.temporary(has_shared_part(p) ? DType::f32 : p.numerics.activation, p.b.shape(in));
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
  const int64_t rows = p.b.shape(local)[0], chosen = p.b.shape(local)[1], pairs = rows * chosen;
  const Tiles tiles = align(p, local);
  p.b.section("experts");
  const Value weights = p.b.reshaped(r.weights, {pairs});
  const auto hidden_of = [&] {
    if (tiles.block == 1 && p.numerics.official && w.w1.w.desc.dtype == DType::f4e2m1)
      return gated_in_one_pass(p, x, w, tiles, weights, chosen);
    const Value gate = expert_linear(p, x, w.w1, tiles, pairs, chosen);
    const Value up = expert_linear(p, x, w.w3, tiles, pairs, chosen);
    return gated(p, gate, up, weights);
  };
  const Activation hidden = hidden_of();
  return p.b.reshaped(expert_linear(p, hidden, w.w2, tiles, pairs, 1),
                      {rows, chosen, p.config.hidden_size});
}

/// Sums over the outputs y [T, J, D] whose ids are not -1, in ascending order of these, and
/// `shared`.
void reduce(Pass& p, Value y, Value ids, Value shared, Value out) {
  p.b.call("moe_reduce", {{"y", y}, {"ids", ids}, {"shared", shared}, {"out", out}});
}

/// Every rank has all rows; what its experts and its part of the shared one give is added up.
Value reduced_over_ranks(Pass& p, const MoeWeights& w, const Activation& x) {
  const int64_t rows = p.step.rows, width = p.config.hidden_size;
  p.b.section("router");
  const Route r = route(p, w, x.plain, p.step.tokens);
  Value local = local_ids(p, r.ids), y;
  if (w.w1.w) {
    y = routed(p, w, x, r, local);
  } else {  // no expert is here: nothing of y is taken, whatever it is
    y = p.b.reshaped(x.plain, {rows, 1, width});
    local = p.b.narrowed(local, 1, 0, 1);
  }
  p.b.section("shared expert");
  const Value own_shared = shared(p, w, x);
  const bool several = p.ranks.several(), adds_shared = !several || has_shared_part(p);
  const Value out = p.b.temporary(several ? DType::f32 : p.numerics.activation, {rows, width});
  reduce(p, y, local, adds_shared ? own_shared : Value{}, out);
  if (!several) return out;
  if (adds_shared) return summed(p, out, "expert sum");
  p.b.section("expert sum");  // of fewer rows than ranks; each has the whole shared expert
  p.b.all_reduce(out, comm::Reduction::sum, p.ranks.world);
  const Value all = p.value({rows, width});
  reduce(p, p.b.reshaped(out, {rows, 1, width}), p.b.narrowed(r.ids, 1, 0, 1), own_shared, all);
  return all;
}

/// Every rank has some rows. They go to the ranks of their experts; what these give for a row comes
/// back and is added in the order of the ranks.
Value exchanged(Pass& p, const MoeWeights& w, const Activation& x) {
  const int64_t ranks = p.ranks.rank.count, rows = p.step.rows, own = p.step.own.count(),
                width = p.config.hidden_size;
  p.b.section("router");
  const Route mine = route(p, w, x.plain, own_rows(p, p.step.tokens));
  constexpr const char* kDispatch = "expert dispatch";
  const Route r{all_rows(p, mine.ids, kDispatch), all_rows(p, mine.weights, kDispatch)};
  const Value wanted = p.b.temporary(DType::i32, {rows, ranks});
  p.b.call("expert_ranks", {{"ids", r.ids}, {"ranks", wanted}},
           {{"experts", static_cast<double>(p.config.experts)}});
  const auto dispatched = [&](Value part) {
    const Value all = p.b.temporary(p.b.dtype(part), {rows, p.b.shape(part)[1]});
    p.b.dispatch(part, all, wanted, p.ranks.world);
    return all;
  };
  Activation sent;
  if (p.numerics.official) {
    sent.codes = dispatched(x.codes);
    sent.scales = dispatched(x.scales);
  } else {
    sent.plain = dispatched(x.plain);
  }
  const Value local = local_ids(p, r.ids);
  const Value sums = p.b.temporary(DType::f32, {rows, width});
  if (w.w1.w)
    reduce(p, routed(p, w, sent, r, local), local, {}, sums);
  else  // no expert is here, and nobody wants anything of the sums, whatever they are
    reduce(p, p.b.reshaped(x.plain, {own, 1, width}),
           p.b.narrowed(p.b.narrowed(local, 0, 0, own), 1, 0, 1), {},
           p.b.narrowed(sums, 0, 0, own));
  p.b.section("expert combine");
  const Value parts = p.b.temporary(DType::f32, {ranks, own, width});
  p.b.combine(sums, parts, wanted, p.ranks.world);
  p.b.section("shared expert");
  const Value own_shared = shared(p, w, x), out = p.value({own, width});
  reduce(p, p.b.transposed(parts), own_rows(p, wanted), own_shared, out);
  return out;
}

}  // namespace

int64_t expert_block(int64_t pairs, int64_t experts, bool deterministic) {
  // One block for all sizes of a step: the order of a row's sum follows from it.
  if (deterministic) return 64;
  const int64_t twice_the_mean = (2 * pairs + experts - 1) / experts;
  if (twice_the_mean <= 1) return 1;
  // Weights are read and decoded once a tile. Tiles of 32 and 128 are those that FP8 instructions
  // multiply where a chip has them.
  if (twice_the_mean > 16) return twice_the_mean <= 128 ? 32 : 128;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(twice_the_mean)));
}

Value moe(Pass& p, const MoeWeights& w, const Activation& x) {
  return p.step.shares_rows() ? exchanged(p, w, x) : reduced_over_ranks(p, w, x);
}

}  // namespace tessera::model::deepseek_v4
