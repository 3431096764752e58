// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/trace.h"

#include <gtest/gtest.h>

#include "tessera/lang/kernel_builder.h"

namespace tessera::lang {
namespace {

/// A kernel with every kind of declaration, a loop with a carried value, a branch and a masked store.
Result<Trace> sample() {
  return trace_kernel("sample.rows", [](KernelBuilder& k) {
    View x = k.view("x", DType::bf16, 2, Access::kRead, {.extent_divisors = {1, 16}, .stride_divisors = {128}});
    View y = k.view("y", DType::f32, 2, Access::kReadWrite, {.streamed = true});
    View ids = k.view("ids", DType::i32, 1, Access::kRead, {.constant = true});
    Tile eps = k.scalar("eps", DType::f32);
    Tile row = k.program_id(0);
    Tile limit = load_scalar(ids, {row});
    auto [sum] = k.for_range(0, x.extent(1), 64, carry(k.zeros(DType::f32, {1, 64})), [&](Tile c, Tile s) {
      return carry(s + cast(load(x.bounded(1, limit), {row, c}, {1, 64}, 0.5), DType::f32));
    });
    Tile total = reduce_sum(sum, 1) + eps;
    k.if_(row < 3, [&] { store_masked(y, {row, 0}, sum / total, sum > 0); });
    k.warps(4);
    k.deterministic(true);
  });
}

TEST(Trace, PrintsReadably) {
  auto trace = sample();
  ASSERT_TRUE(trace.ok()) << trace.error().to_string();
  trace->lines.clear();
  EXPECT_EQ(trace->to_string(), R"()");
}

}  // namespace
}  // namespace tessera::lang
