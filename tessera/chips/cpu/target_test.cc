// SPDX-License-Identifier: Apache-2.0
// Compiled kernels against the interpreter: memory, control and elementwise operations.
#include "tessera/chips/cpu/target_differential.h"

namespace tessera::chips::cpu {
namespace {

using lang::Access;
using lang::carry;
using lang::KernelBuilder;
using lang::Tile;
using lang::View;

double wave(int64_t i) { return std::sin(0.37 * static_cast<double>(i)) * 3; }

TEST(CpuTarget, ScalesRowsWithEdges) {
  for (int64_t columns : {1, 17, 64, 130, 1000}) {
    Differential test({tensor(DType::f32, {3, columns}, wave),
                       tensor(DType::f32, {3, columns}, [](int64_t) { return 0.0; })});
    test.run(
        [](KernelBuilder& k) {
          View x = k.view("x", DType::f32, 2, Access::kRead),
               y = k.view("y", DType::f32, 2, Access::kWrite);
          Tile row = k.program_id(0);
          k.for_range(0, x.extent(1), 64,
                      [&](Tile c) { store(y, {row, c}, load(x, {row, c}, {1, 64}) * 2 + 1); });
        },
        {.x = 5});
  }
}

TEST(CpuTarget, NormalizesRows) {
  Differential test({tensor(DType::bf16, {5, 300}, wave),
                     tensor(DType::bf16, {5, 300}, [](int64_t) { return 0.0; })});
  test.tolerance = 0.02;
  test.run(
      [](KernelBuilder& k) {
        View x = k.view("x", DType::bf16, 2, Access::kRead),
             y = k.view("y", DType::bf16, 2, Access::kWrite);
        Tile row = k.program_id(0);
        auto [sum] = k.for_range(0, x.extent(1), 128, carry(k.zeros(DType::f32, {1, 128})),
                                 [&](Tile c, Tile s) {
                                   Tile v = cast(load(x, {row, c}, {1, 128}), DType::f32);
                                   return carry(s + v * v);
                                 });
        Tile scale = rsqrt(reduce_sum(sum, 1) / cast(x.extent(1), DType::f32) + 1e-6);
        k.for_range(0, x.extent(1), 128, [&](Tile c) {
          Tile v = cast(load(x, {row, c}, {1, 128}), DType::f32);
          store(y, {row, c}, cast(v * scale, DType::bf16));
        });
      },
      {.x = 5});
}

}  // namespace
}  // namespace tessera::chips::cpu
