// SPDX-License-Identifier: Apache-2.0
// Inputs and cases of the grouped expert products.
#pragma once

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tessera/ops/gemm/kernels/product.h"
#include "tessera/ops/moe/kernels/alignment.h"

namespace tessera::ops::moe {

/// Experts of a table in descending order and unevenly spaced, the last at the end of the stack.
inline void fill_table(Inputs& in, std::string_view table, int64_t places, int64_t experts) {
  if (!in.problem().has(table)) return;
  const int64_t last = places - 1, step = experts > 1 ? last / (experts - 1) : 0;
  for (int64_t e = 0; e < experts; ++e)
    in.tensor(table).set({e}, static_cast<double>(last - e * step));
}

/// A random routing of P pairs, 6 a token.
inline HostTensor routing(Inputs& in) {
  const Problem& p = in.problem();
  const int64_t experts = p.dim("E"), per_token = std::min<int64_t>(6, experts);
  HostTensor ids({DType::i32, Shape{(p.dim("P") + per_token - 1) / per_token, per_token}});
  fill_routing(in, ids, experts);
  for (int64_t i = p.dim("P"); i < ids.numel(); ++i) ids.set_flat(i, -1);
  return ids;
}

/// slots, tile_expert and tile_count. Unused tiles name a wrong expert, so that a program that does
/// not leave is seen.
inline void fill_tiles(Inputs& in, const HostTensor& ids, int64_t block) {
  const Alignment a = align(ids, in.problem().dim("E"), block);
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

/// Scales, tables, and tiles of a random routing.
inline void fill_product(Inputs& in) {
  const Problem& p = in.problem();
  fill_tiles(in, routing(in), static_cast<int64_t>(p.attribute("block")));
  gemm::fill_scales(in, "x_scale");
  gemm::fill_scales(in, "w_scale");
  if (p.has("w_scale") && p.dtype("w_scale") == DType::f32)
    for (int64_t i = 0; i < in.tensor("w_scale").numel(); ++i)
      in.tensor("w_scale").set_flat(i, in.uniform(0.001, 0.02));
  fill_table(in, "offsets", p.dim("U"), p.dim("E"));
  if (p.has("scale_offsets")) fill_table(in, "scale_offsets", p.dim("V"), p.dim("E"));
}

/// A case of T tokens with 6 experts each; `fan` 6: x has a row a token (w1, w3), 1: a row a pair
/// (w2).
inline Case product_case(const gemm::WeightFormat& f, int64_t T, int64_t experts, int64_t block,
                         int64_t N, int64_t K, int64_t fan, std::map<std::string, DType> dtypes,
                         std::string note = {}) {
  const int64_t pairs = 6 * T, tiles = max_tiles(pairs, experts, block);
  Case c = {
      .dims = {{"R", fan == 6 ? T : pairs},
               {"P", pairs},
               {"E", experts},
               {"U", experts},
               {"N", N},
               {"K", K},
               {"G", tiles},
               {"S", tiles * block}},
      .dtypes = std::move(dtypes),
      .attributes = {{"block", static_cast<double>(block)}, {"fan", static_cast<double>(fan)}},
      .note = std::move(note)};
  if (f.has_scales()) c.dims["V"] = experts;
  return c;
}

/// The same with tables over `places` places, `stride` elements of w apart.
inline Case with_tables(const gemm::WeightFormat& f, Case c, int64_t stride, int64_t places) {
  const int64_t K = c.dims["K"];
  c.dims["U"] = places;
  c.dtypes["offsets"] = DType::i64;
  c.strides["w"] = {stride, K, 1};
  if (!f.has_scales()) return c;
  c.dims["V"] = places;
  c.dtypes["scale_offsets"] = DType::i64;
  return c;
}

/// Elements in so many bytes.
inline int64_t elements_in(const gemm::WeightFormat& f, int64_t bytes) {
  return 8 * bytes / bits(f.dtype);
}

/// Matrices at any byte (two for bf16), overlapping: what a stack of single tensors of a file is.
inline Case anywhere(const gemm::WeightFormat& f, int64_t T, int64_t block, int64_t K,
                     std::map<std::string, DType> dtypes) {
  constexpr int64_t kPlaces = 200;
  Case c = with_tables(f, product_case(f, T, 7, block, 8, K, 6, std::move(dtypes), "anywhere"),
                       std::max<int64_t>(1, elements_in(f, 1)), kPlaces);
  if (f.has_row_scales)
    c.strides["w_scale"] = {1, 1};
  else if (f.has_scales())
    c.strides["w_scale"] = {1, (K + f.scale_k - 1) / f.scale_k, 1};
  return c;
}

/// Activations in dtype x, with scales if they are e4m3.
inline std::map<std::string, DType> product_dtypes(DType x, DType y) {
  std::map<std::string, DType> all = {{"x", x}, {"y", y}};
  if (x == DType::f8e4m3) all["x_scale"] = DType::f8e8m0;
  return all;
}

/// V4 Flash's experts as they lie in a file: tensors begin at multiples of 8 bytes. A part of the
/// 256 experts with tiles as full as they are for so many tokens.
inline void add_product_benches(const gemm::WeightFormat& f, std::vector<Case>& list) {
  struct Load {
    int64_t T, experts, block;
  };
  constexpr Load kLoads[] = {{1, 16, 1},     {2, 16, 1},     {4, 24, 1},     {16, 64, 4},
                             {64, 64, 16},   {128, 64, 16},  {128, 64, 32},  {512, 16, 64},
                             {512, 16, 128}, {4096, 16, 64}, {4096, 16, 128}};
  const auto activations =
      !f.has_scales() ? std::vector{DType::bf16} : std::vector{DType::f8e4m3, DType::bf16};
  for (const Load& load : kLoads)
    for (auto [N, K, fan] : {std::array<int64_t, 3>{2048, 4096, 6}, {4096, 2048, 1}})
      for (DType x : activations) {
        Case c = product_case(f, load.T, load.experts, load.block, N, K, fan,
                              product_dtypes(x, DType::bf16), fan == 6 ? "w1" : "w2");
        c.bench = true;
        c.test = false;
        list.push_back(with_tables(f, std::move(c), N * K + elements_in(f, 8), load.experts));
      }
}

/// The cases of all: every block size, empty experts, one expert for all, tails, each kind of
/// activations, tables.
inline std::vector<Case> product_cases(const gemm::WeightFormat& f) {
  const DType f32 = DType::f32, bf16 = DType::bf16;
  const bool scaled = f.has_scales();
  const DType native = scaled ? DType::f8e4m3 : bf16;
  const auto exact = product_dtypes(native, f32), rounded = product_dtypes(native, bf16);
  const int64_t K = scaled ? 256 : 136, odd_k = K + K / 8;
  std::vector<Case> list = {
      product_case(f, 1, 8, 1, 64, K, 6, exact),
      product_case(f, 1, 8, 1, 33, odd_k, 1, exact, "N, K tail"),
      product_case(f, 3, 8, 1, 64, K, 6, exact),
      product_case(f, 4, 12, 8, 64, K, 6, exact),
      product_case(f, 4, 12, 8, 33, odd_k, 1, exact, "N, K tail"),
      product_case(f, 5, 18, 4, 32, K, 6, exact, "empty experts"),
      product_case(f, 6, 8, 8, 32, K, 6, exact, "one expert"),
      product_case(f, 12, 7, 32, 70, K, 6, exact),
      product_case(f, 12, 7, 64, 33, odd_k, 1, exact, "one expert"),
      product_case(f, 12, 7, 128, 200, K, 6, exact),
      product_case(f, 30, 7, 128, 33, odd_k, 1, exact, "one expert"),
      product_case(f, 2, 8, 2, 32, K, 1, rounded),
      product_case(f, 0, 8, 8, 32, K, 6, rounded, "empty"),
      anywhere(f, 1, 1, K, exact),
      anywhere(f, 12, 8, K, exact),
      anywhere(f, 2, 1, 1024, product_dtypes(bf16, f32)),
      anywhere(f, 12, 16, odd_k, product_dtypes(f32, f32)),
  };
  for (DType x : {bf16, f32}) {
    list.push_back(product_case(f, 1, 8, 1, 64, 1024, 6, product_dtypes(x, f32)));
    list.push_back(product_case(f, 1, 8, 1, 33, odd_k, 1, product_dtypes(x, x), "N, K tail"));
    list.push_back(product_case(f, 4, 12, 8, 33, odd_k, 6, product_dtypes(x, f32), "N, K tail"));
    list.push_back(product_case(f, 12, 7, 32, 70, K, 6, product_dtypes(x, x)));
  }
  add_product_benches(f, list);
  return list;
}

}  // namespace tessera::ops::moe
