// SPDX-License-Identifier: Apache-2.0
// The grouped product over aligned tiles of pairs: a program takes some rows of one expert's matrix
// and the pairs of one tile. The grid is the worst case; programs beyond the tile count leave at
// once.
#pragma once

#include <array>
#include <utility>

#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"
#include "tessera/ops/moe/kernels/alignment.h"

namespace tessera::ops::moe {

/// Static: a dot step for tiles of `block` pairs, and how many pairs share a row of x.
struct ProductSizes {
  gemm::Blocking tile;
  int64_t fan;
  DType y_dtype;
};

inline ProductSizes product_sizes(const PlanBuilder& b) {
  const auto block = static_cast<int64_t>(b.attribute("block"));
  gemm::Blocking tile = gemm::blocking(b.caps(), block);
  tile.m = block;
  return {tile, static_cast<int64_t>(b.attribute("fan")), b.dtype("y")};
}

inline std::vector<int64_t> product_grid(const ProductSizes& z, const PlanBuilder& b) {
  return {(b.dim("N") + z.tile.rows - 1) / z.tile.rows, b.dim("G")};
}

/// A tile's rows of a matrix [R, K]. One row is a plain load, which stays linear.
inline Tile rows_of(const View& x, Tile rows, Tile column, int64_t columns, double fill = 0) {
  if (rows.shape()[0] > 1) return gather(x, {0, column}, rows, columns, fill);
  return load(x, {reshape(rows, {}), column}, {1, columns}, fill);
}

/// The body of every such kernel: `left(rows, k0)` gives the activations of the rows of x,
/// `right(expert, n, k0)` the weights.
template <class Left, class Right>
void expert_product(KernelBuilder& k, const ProductSizes& z, const View& w, const View& slots,
                    const View& tile_expert, const View& tile_count, const View& y, Left left,
                    Right right) {
  const gemm::Blocking& t = z.tile;
  const Tile first = k.program_id(0) * t.rows, g = k.program_id(1);
  k.if_(g < cast(load_scalar(tile_count, {0}), DType::i64), [&] {
    const Tile expert = cast(load_scalar(tile_expert, {g}), DType::i64);
    const Tile pairs = load(slots, {g * t.m}, {t.m}, -1);
    const Tile rows = z.fan == 1 ? pairs : select(pairs < 0, -1, pairs / z.fan);
    gemm::walk_weights(
        k, t, first, w.extent(1), w.extent(2), DType::f32,
        [&](Tile n, Tile k0, Tile acc) {
          return dot_scaled(left(rows, k0), right(expert, n, k0), acc);
        },
        [&](Tile n, Tile sum) {
          const Tile out = cast(sum, z.y_dtype);
          if (t.m > 1) {
            scatter(y, {0, n}, pairs, out);
          } else {
            store(y, {reshape(pairs, {}), n}, out);
          }
        });
  });
}

/// Rows of x e4m3 [R, K] with a scale for every 128 of K.
inline lang::ScaledOperand scaled_rows(const View& x, const View& s, Tile rows, Tile k0,
                                       const gemm::Blocking& t) {
  return {rows_of(x, rows, k0, t.k), rows_of(s, rows, k0 / 128, gemm::scales(t.k, 128), 1)};
}

// ---- what the three operators share besides ----

inline std::vector<TensorSpec> product_tensors(std::vector<TensorSpec> operands,
                                               std::vector<DType> y) {
  operands.push_back(in("slots", "S", {DType::i32}));
  operands.push_back(in("tile_expert", "G", {DType::i32}));
  operands.push_back(in("tile_count", "1", {DType::i32}));
  operands.push_back(inout("y", "P,N", std::move(y)));
  return operands;
}

/// y[p] for the pairs in the slots of used tiles; x and w decoded, [R, K] and [E, N, K].
inline void plain_product(const Reference& r, const std::vector<double>& x,
                          const std::vector<double>& w) {
  const int64_t N = r.dim("N"), K = r.dim("K");
  const auto block = static_cast<int64_t>(r.attribute("block")),
             fan = static_cast<int64_t>(r.attribute("fan"));
  const auto tiles = static_cast<int64_t>(r.in("tile_count").at({0}));
  for (int64_t s = 0; s < tiles * block; ++s) {
    const auto pair = static_cast<int64_t>(r.in("slots").at({s}));
    if (pair < 0) continue;
    const auto expert = static_cast<int64_t>(r.in("tile_expert").at({s / block}));
    for (int64_t n = 0; n < N; ++n) {
      const auto sum = gemm::dot_sum(&x[pair / fan * K], &w[(expert * N + n) * K], K);
      r.out("y").set({pair, n}, sum.value, sum.magnitude);
    }
  }
}

/// slots, tile_expert and tile_count for a random routing of P pairs. Unused tiles name a wrong
/// expert, so that a program that does not leave is seen.
inline void fill_alignment(Inputs& in) {
  const Problem& p = in.problem();
  const auto block = static_cast<int64_t>(p.attribute("block"));
  const int64_t experts = p.dim("E"), per_token = std::min<int64_t>(6, experts);
  HostTensor ids({DType::i32, Shape{(p.dim("P") + per_token - 1) / per_token, per_token}});
  fill_routing(in, ids, experts);
  for (int64_t i = p.dim("P"); i < ids.numel(); ++i) ids.set_flat(i, -1);
  const Alignment a = align(ids, experts, block);
  HostTensor &slots = in.tensor("slots"), &tile_expert = in.tensor("tile_expert");
  TESSERA_CHECK(std::ssize(a.slots) <= slots.numel(), "{} slots in a case of {}", a.slots.size(),
                slots.numel());
  for (int64_t s = 0; s < slots.numel(); ++s)
    slots.set({s},
              s < std::ssize(a.slots) ? static_cast<double>(a.slots[static_cast<size_t>(s)]) : 0);
  for (int64_t g = 0; g < tile_expert.numel(); ++g)
    tile_expert.set({g}, g < std::ssize(a.tile_expert)
                             ? static_cast<double>(a.tile_expert[static_cast<size_t>(g)])
                             : 0);
  in.tensor("tile_count").set({0}, static_cast<double>(a.tile_expert.size()));
}

/// A case of T tokens with 6 experts each; `fan` 6: x has a row a token (w1, w3), 1: a row a pair
/// (w2).
inline Case product_case(int64_t T, int64_t experts, int64_t block, int64_t N, int64_t K,
                         int64_t fan, std::map<std::string, DType> dtypes, std::string note = {}) {
  const int64_t pairs = 6 * T, tiles = max_tiles(pairs, experts, block);
  return {.dims = {{"R", fan == 6 ? T : pairs},
                   {"P", pairs},
                   {"E", experts},
                   {"N", N},
                   {"K", K},
                   {"G", tiles},
                   {"S", tiles * block}},
          .dtypes = std::move(dtypes),
          .attributes = {{"block", static_cast<double>(block)}, {"fan", static_cast<double>(fan)}},
          .note = std::move(note)};
}

/// The cases of all three: every block size, empty experts, one expert for all, tails, and V4 Flash
/// to time.
inline std::vector<Case> product_cases(const std::map<std::string, DType>& dtypes, int64_t k_step) {
  auto with = [&](DType y) {
    auto all = dtypes;
    all["y"] = y;
    return all;
  };
  const auto exact = with(DType::f32), rounded = with(DType::bf16);
  const int64_t K = 2 * k_step, odd_k = K + k_step / 4;
  std::vector<Case> list = {
      product_case(1, 8, 1, 64, K, 6, exact),
      product_case(1, 8, 1, 33, odd_k, 1, exact, "N, K tail"),
      product_case(3, 8, 1, 64, K, 6, exact),
      product_case(4, 12, 8, 64, K, 6, exact),
      product_case(4, 12, 8, 33, odd_k, 1, exact, "N, K tail"),
      product_case(5, 18, 4, 32, K, 6, exact, "empty experts"),
      product_case(6, 8, 8, 32, K, 6, exact, "one expert"),
      product_case(12, 7, 32, 70, K, 6, exact),
      product_case(12, 7, 64, 33, odd_k, 1, exact, "one expert"),
      product_case(2, 8, 2, 32, K, 1, rounded),
      product_case(0, 8, 8, 32, K, 6, rounded, "empty"),
  };
  for (auto [T, block] :
       {std::pair<int64_t, int64_t>{1, 1}, {2, 1}, {4, 1}, {8, 2}, {64, 8}, {512, 32}})
    for (auto [N, K, fan] : {std::array<int64_t, 3>{2048, 4096, 6}, {4096, 2048, 1}}) {
      Case c = product_case(T, 16, block, N, K, fan, rounded, fan == 6 ? "w1" : "w2");
      c.bench = true;
      c.test = false;
      list.push_back(c);
    }
  return list;
}

/// Each expert that is used is read once.
inline Cost expert_cost(const Problem& p) {
  const double pairs = static_cast<double>(p.dim("P"));
  const double used =
      std::min(pairs, static_cast<double>(p.dim("E"))) / static_cast<double>(p.dim("E"));
  Cost cost{.flops = 2 * pairs * static_cast<double>(p.dim("N")) * static_cast<double>(p.dim("K"))};
  for (const char* name : {"x", "x_scale"})
    if (p.has(name)) cost.bytes_read += static_cast<double>(p.tensor(name).bytes());
  for (const char* name : {"w", "w_scale"})
    if (p.has(name)) cost.bytes_read += used * static_cast<double>(p.tensor(name).bytes());
  cost.bytes_written = static_cast<double>(p.tensor("y").bytes());
  return cost;
}

}  // namespace tessera::ops::moe
