// SPDX-License-Identifier: Apache-2.0
// Traces for tests and as seeds of the fuzzer. In the first one no two arguments of a call make
// nodes, so that every compiler records the same order.
#pragma once

#include <array>

#include "tessera/lang/kernel_builder.h"

namespace tessera::lang {

/// Every kind of declaration, a loop with a carried value, a branch, a bounded load, a masked
/// store.
inline Trace sample_trace() {
  return trace_kernel("sample.rows",
                      [](KernelBuilder& k) {
                        View x = k.view("x", DType::bf16, 2, Access::kRead,
                                        {.extent_divisors = {1, 16}, .stride_divisors = {128}});
                        View y = k.view("y", DType::f32, 2, Access::kReadWrite, {.streamed = true});
                        View ids = k.view("ids", DType::i32, 1, Access::kRead, {.constant = true});
                        Tile eps = k.scalar("eps", DType::f32);
                        Tile row = k.program_id(0);
                        Tile limit = load_scalar(ids, {row});
                        auto [sum] = k.for_range(
                            0, x.extent(1), 64, carry(k.zeros(DType::f32, {1, 64})),
                            [&](Tile c, Tile s) {
                              Tile part = load(x.bounded(1, limit), {row, c}, {1, 64}, 0.5);
                              return carry(s + cast(part, DType::f32));
                            });
                        Tile total = reduce_sum(sum, 1) + eps;
                        k.if_(row < 3, [&] {
                          Tile share = sum / total, positive = sum > 0;
                          store_masked(y, {row, 0}, share, positive);
                        });
                        k.warps(4);
                      })
      .value();
}

/// Every opcode at least once.
inline Trace every_opcode_trace() {
  return trace_kernel(
             "sample.all",
             [](KernelBuilder& k) {
               View f = k.view("f", DType::f32, 2, Access::kReadWrite);
               View n = k.view("n", DType::i32, 1, Access::kReadWrite);
               View w = k.view("w", DType::f4e2m1, 2, Access::kRead, {.constant = true});
               Tile seed = k.scalar("seed", DType::i64);
               Tile at = k.program_id(0) + k.num_programs(1) * f.extent(0);
               Tile x = load(f, {at, 0}, {8, 16}), i = k.iota({8}, 0), j = k.iota({16}, 0);
               Tile rows = load(n, {0}, {8}), g = gather(f, {0, at}, rows, 16, -1);
               scatter(f, {0, 0}, rows, -abs(g));
               atomic_add(n, {0}, rows, min(max(i - 1, 2), 5));
               store(f, {0, at},
                     exp(x) + exp2(x) - log(x) * log1p(x) / sqrt(x) + rsqrt(x) + sigmoid(x));
               store(f, {0, 0}, fma(sin(x), cos(x), select(x < g, x, g)));
               Tile bits = ((((bitcast(j, DType::u32) % 7) & 3) | 8) ^ 5) << 2 >> 1;
               store(n, {0}, bitcast(!bits, DType::i32));
               Tile sum = reduce_sum(scan_sum(x, 1), 0) + broadcast(cast(j, DType::f32), {1, 16});
               auto [even, odd] = split(sum);
               store(f, {0, 0}, join(odd, even));
               store(f, {0, 0},
                     transpose(reshape(concat(x, slice(x, 0, 0, 8), 0), {16, 16}), {1, 0}));
               auto [key, value] = sort(take(reshape(sum, {16}), j), j, true);
               store(n, {0}, value + histogram(j, 16) * reshape(slice(argmax(x, 1), 0, 0, 1), {1}));
               std::array<float, 16> table{};
               store(f, {0, 0}, lookup(table, j));
               store(n, {0}, bitcast(random_bits(bits, seed), DType::i32));
               store(f, {0, 0}, dot(x, x, dot_kn(x, transpose(x, {1, 0}), 0)));
               Tile scale = k.constant(DType::f8e8m0, {1, 2}, 0.25);
               store(
                   f, {0, 0},
                   dot_scaled({cast(x, DType::f8e4m3), {}}, {load(w, {0, 0}, {8, 16}), scale}, 0));
               k.for_range(0, 4, 1, [&](Tile c) { k.if_(c > at, [&] { store(f, {c, 0}, 1.5); }); });
             })
      .value();
}

}  // namespace tessera::lang
