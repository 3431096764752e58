// SPDX-License-Identifier: Apache-2.0
// What the tracer makes of right kernels: conversions of numbers, index scalars, broadcasting,
// folding.
#include "tessera/lang/kernel_builder.h"

#include <gtest/gtest.h>

namespace tessera::lang {
namespace {

/// The listing of a kernel, from its first node on.
std::string nodes(const std::function<void(KernelBuilder&)>& body) {
  auto trace = trace_kernel("k", body);
  if (!trace.ok()) return trace.error().to_string();
  trace->lines.clear();
  const std::string text = trace->to_string();
  return text.substr(text.find("  %"));
}

TEST(KernelBuilder, NumbersTakeTheOtherDtypeAndShape) {
  EXPECT_EQ(nodes([](KernelBuilder& k) { 2 * (k.iota({4}, 0) + 1); }),
            "  %0 = iota {0} : i32[4]\n  %1 = constant 1 : i32[4]\n  %2 = add %0, %1 : i32[4]\n"
            "  %3 = constant 2 : i32[4]\n  %4 = mul %3, %2 : i32[4]\n");
  EXPECT_EQ(nodes([](KernelBuilder& k) { (void)(k.scalar("s", DType::f32) < 1); }),
            "  %0 = scalar_arg s : f32\n  %1 = constant 1 : f32\n  %2 = compare %0, %1 lt : i1\n");
}

TEST(KernelBuilder, IndexScalarsWiden) {
  EXPECT_EQ(nodes([](KernelBuilder& k) { k.scalar("s", DType::i32) + k.program_id(0); }),
            "  %0 = scalar_arg s : i32\n  %1 = program_id {0} : i64\n  %2 = cast %0 : i64\n  %3 = "
            "add %2, %1 : i64\n");
  EXPECT_EQ(nodes([](KernelBuilder& k) {
              View x = k.view("x", DType::f32, 2, Access::kRead);
              load(x, {k.constant(DType::i32, {}, 3), k.scalar("s", DType::i32)}, {});
            }),
            "  %0 = constant 3 : i32\n  %1 = scalar_arg s : i32\n  %2 = constant 3 : i64\n  %3 = "
            "cast %1 : i64\n"
            "  %4 = load x[%2, %3] : f32\n");
}

TEST(KernelBuilder, ShapesBroadcastAndConstantsFold) {
  EXPECT_EQ(nodes([](KernelBuilder& k) {
              k.iota({4}, 0) + k.iota({2, 1}, 0) * k.constant(DType::i32, {1}, 5);
            }),
            "  %0 = iota {0} : i32[4]\n  %1 = iota {0} : i32[2, 1]\n  %2 = constant 5 : i32[1]\n"
            "  %3 = constant 5 : i32[2, 1]\n  %4 = mul %1, %3 : i32[2, 1]\n"
            "  %5 = broadcast %0 : i32[2, 4]\n  %6 = broadcast %4 : i32[2, 4]\n  %7 = add %5, %6 : "
            "i32[2, 4]\n");
}

TEST(KernelBuilder, SelectBroadcastsItsCondition) {
  EXPECT_EQ(nodes([](KernelBuilder& k) { select(k.program_id(0) == 0, k.iota({4}, 0), 7); }),
            "  %0 = program_id {0} : i64\n  %1 = constant 0 : i64\n  %2 = compare %0, %1 eq : i1\n"
            "  %3 = iota {0} : i32[4]\n  %4 = constant 7 : i32[4]\n  %5 = broadcast %2 : i1[4]\n"
            "  %6 = select %5, %3, %4 : i32[4]\n");
}

TEST(KernelBuilder, CastsGoThroughTheComputeType) {
  const auto casts = [](DType from, DType to) {
    std::string steps(name(from));
    auto trace = trace_kernel("k", [&](KernelBuilder& k) {
      cast(load_scalar(k.view("x", from, 1, Access::kRead), {0}), to);
    });
    if (!trace.ok()) return trace.error().message;
    for (const Node& node : trace->body.nodes)
      if (node.op == Opcode::kCast) steps += " " + trace->type(node.results[0]).to_string();
    return steps;
  };
  EXPECT_EQ(casts(DType::f32, DType::f32), "f32");
  EXPECT_EQ(casts(DType::f32, DType::bf16), "f32 bf16");
  EXPECT_EQ(casts(DType::bf16, DType::f8e4m3), "bf16 f32 f8e4m3");
  EXPECT_EQ(casts(DType::bf16, DType::i32), "bf16 f32 i32");
  EXPECT_EQ(casts(DType::f8e4m3, DType::u8), "f8e4m3 f32 i32 u8");
  EXPECT_EQ(casts(DType::u8, DType::f16), "u8 i32 f32 f16");
  EXPECT_EQ(casts(DType::i8, DType::i64), "i8 i32 i64");
  EXPECT_EQ(casts(DType::i64, DType::bf16), "i64 f32 bf16");
  EXPECT_EQ(casts(DType::u32, DType::u8), "u32 i32 u8");
}

TEST(KernelBuilder, StorageConstantsAreRoundedToTheirType) {
  EXPECT_EQ(nodes([](KernelBuilder& k) { k.constant(DType::f8e4m3, {2}, 1000); }),
            "  %0 = constant 448 : f8e4m3[2]\n");
  EXPECT_EQ(nodes([](KernelBuilder& k) { k.constant(DType::bf16, {}, 0.1); }),
            "  %0 = constant 0.100097656 : bf16\n");
}

TEST(KernelBuilder, LongIntegersStayExact) {
  EXPECT_EQ(nodes([](KernelBuilder& k) { k.index((int64_t{1} << 62) + 1); }),
            "  %0 = constant 4611686018427387905 : i64\n");
}

TEST(KernelBuilder, CeilDiv) {
  EXPECT_EQ(nodes([](KernelBuilder& k) { ceil_div(k.program_id(0), 64); }),
            "  %0 = program_id {0} : i64\n  %1 = constant 63 : i64\n  %2 = add %0, %1 : i64\n"
            "  %3 = constant 64 : i64\n  %4 = div %2, %3 : i64\n");
}

TEST(KernelBuilder, BoundedExtentsAreTheExtents) {
  EXPECT_EQ(nodes([](KernelBuilder& k) {
              View x = k.view("x", DType::f32, 1, Access::kRead);
              x.bounded(0, k.scalar("n", DType::i64)).extent(0) + x.extent(0);
            }),
            "  %0 = scalar_arg n : i64\n  %1 = extent x 0 : i64\n  %2 = add %0, %1 : i64\n");
}

TEST(KernelBuilder, ReductionsKeepTheAxis) {
  (void)trace_kernel("k", [](KernelBuilder& k) {
    Tile x = k.zeros(DType::f32, {2, 4, 8});
    EXPECT_EQ(reduce_sum(x, 1).shape(), (TileShape{2, 1, 8}));
    EXPECT_EQ(argmax(x, 2).dtype(), DType::i32);
    EXPECT_EQ(argmax(x, 2).shape(), (TileShape{2, 4, 1}));
    EXPECT_EQ(x.rank(), 3);
    View v = k.view("v", DType::bf16, 3, Access::kRead);
    Tile rows = k.iota({16}, 0);
    EXPECT_EQ(gather(v, {0, 0, 0}, rows, 32).shape(), (TileShape{16, 32}));
    EXPECT_EQ(gather(v, {0, 0, 0}, rows, 0).shape(), TileShape{16});
    EXPECT_EQ(gather(v, {0, 0, 0}, rows, 0).dtype(), DType::bf16);
  });
}

}  // namespace
}  // namespace tessera::lang
