// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tessera/ops/frame/prepared.h"
#include "tessera/ops/frame/testing/sample_operators.h"

namespace tessera::ops {
namespace {

using Divisors = std::vector<lang::Divisor>;

const runtime::Capabilities kCapabilities;

Problem sample_problem(int64_t rows, int64_t width) {
  static const Signature signature = testing::SampleOp::signature();
  return Problem::from_dims(signature, {{"T", rows}, {"D", width}},
                            {{"x", DType::f32}, {"y", DType::f32}})
      .value();
}

/// The declaration of an argument, as its kernel sees it.
lang::ViewDecl decl_of(const Arg& arg) {
  KernelCall call;
  call.name = "test.kernel";
  call.args = {arg};
  call.body = [](KernelBuilder&, std::span<const View>, std::span<const Tile>) {};
  return trace_call(call)->views[0];
}

Arg arg_of(Shape shape, std::vector<bool> dynamic, DType dtype = DType::f32) {
  Arg arg;
  arg.name = "a";
  arg.dtype = dtype;
  arg.shape = shape;
  const auto strides = shape.dense_strides();
  arg.strides.assign(strides.begin(), strides.begin() + shape.rank());
  arg.dynamic = std::move(dynamic);
  return arg;
}

TEST(Divisibility, FollowsStaticExtents) {
  EXPECT_EQ(decl_of(arg_of({256, 48}, {false, false})).extent_divisors, (Divisors{128, 16}));
  EXPECT_EQ(decl_of(arg_of({6, 7}, {false, false})).extent_divisors, (Divisors{2, 1}));
  EXPECT_EQ(decl_of(arg_of({1, 7}, {false, false})).extent_divisors, (Divisors{0, 1}));
  EXPECT_EQ(decl_of(arg_of({3, 48}, {false, false})).stride_divisors, (Divisors{16}));
  EXPECT_EQ(decl_of(arg_of({3, 1}, {false, false})).stride_divisors, (Divisors{0}));
}

TEST(Divisibility, DynamicDimensionsPromiseNothing) {
  for (const int64_t rows : {1, 16, 128}) {
    EXPECT_EQ(decl_of(arg_of({rows, 512}, {true, false})).extent_divisors, (Divisors{1, 128}));
    EXPECT_EQ(decl_of(arg_of({4, rows, 48}, {false, true, false})).stride_divisors,
              (Divisors{16, 16}))
        << rows;
    EXPECT_EQ(decl_of(arg_of({4, rows}, {false, true})).stride_divisors, (Divisors{1})) << rows;
    EXPECT_EQ(decl_of(arg_of({4, rows, 1}, {false, true, false})).stride_divisors, (Divisors{1, 0}))
        << rows;
  }
}

TEST(Divisibility, GivenStridesCount) {
  Arg arg = arg_of({4, 512}, {true, false});
  arg.strides = {528, 1};
  EXPECT_EQ(decl_of(arg).stride_divisors, (Divisors{16}));
}

TEST(ArgReshaped, KeepsStaticTrailingDimensions) {
  const Arg x = arg_of({3, 512}, {true, false});
  const Arg split = x.reshaped({12, 128});
  EXPECT_EQ(split.strides, (std::vector<int64_t>{128, 1}));
  EXPECT_EQ(split.dynamic, (std::vector<bool>{true, false}));
  EXPECT_EQ(x.reshaped({3, 4, 128}).dynamic, (std::vector<bool>{true, false, false}));
  EXPECT_EQ(x.reshaped({1536}).dynamic, (std::vector<bool>{true}));
  EXPECT_EQ(arg_of({1, 512}, {true, false}).reshaped({4, 128}).dynamic,
            (std::vector<bool>{true, false}));
  EXPECT_EQ(arg_of({4, 512}, {false, false}).reshaped({2, 1024}).dynamic,
            (std::vector<bool>{false, false}));
}

TEST(ArgNarrowed, MovesTheBase) {
  const Arg part = arg_of({3, 512}, {true, false}, DType::bf16).narrowed(1, 448, 64);
  EXPECT_EQ(part.byte_offset, 896);
  EXPECT_EQ(part.shape, (Shape{3, 64}));
  EXPECT_EQ(part.strides[0], 512);
  EXPECT_EQ(arg_of({3, 512}, {true, false}, DType::f4e2m1).narrowed(0, 1, 2).byte_offset, 256);
}

TEST(PlanBuilder, ClassesOfADynamicDimension) {
  const auto m_class = [](int64_t rows, bool deterministic = false) {
    const Problem problem = sample_problem(rows, 16);
    return PlanBuilder(problem, kCapabilities, {.deterministic = deterministic}).m_class("T");
  };
  const std::map<int64_t, int64_t> expected = {{0, 1},  {1, 1},   {2, 8},    {8, 8},
                                               {9, 64}, {64, 64}, {65, 1024}};
  for (const auto& [rows, bound] : expected) EXPECT_EQ(m_class(rows), bound);
  EXPECT_EQ(m_class(1, true), 64);
  EXPECT_EQ(m_class(65, true), 1024);
}

TEST(PlanBuilder, RowsOfProductsHaveOneClassMore) {
  const auto product_class = [](int64_t rows, bool deterministic) {
    return ops::product_class(rows, {.deterministic = deterministic});
  };
  const std::map<int64_t, int64_t> expected = {{1, 1},   {2, 8},   {8, 8},    {9, 16},
                                               {16, 16}, {17, 64}, {65, 1024}};
  for (const auto& [rows, bound] : expected) {
    EXPECT_EQ(product_class(rows, false), bound);
    EXPECT_EQ(product_class(rows, true), std::max<int64_t>(16, bound));
  }
}

TEST(PlanBuilder, WorkspacePartsDoNotOverlap) {
  const Problem problem = sample_problem(3, 16);
  PlanBuilder b(problem, kCapabilities);
  const Arg a = b.workspace("a", DType::f32, {3}), c = b.workspace("c", DType::bf16, {200});
  EXPECT_EQ(a.byte_offset, 0);
  EXPECT_EQ(c.byte_offset, 256);
  EXPECT_EQ(std::move(b).finish().workspace_bytes, 768);
}

TEST(PlanBuilder, EmptyGridsAreLeftOut) {
  const Operator op = make_operator<testing::SampleOp>();
  EXPECT_EQ(make_plan(op, sample_problem(0, 16), kCapabilities).calls.size(), 0u);
  EXPECT_EQ(make_plan(op, sample_problem(2, 16), kCapabilities).calls.size(), 2u);
}

TEST(TraceCall, EqualClassesGiveEqualTraces) {
  const Operator op = make_operator<testing::SampleOp>();
  const auto hash = [&](int64_t rows, int64_t width) {
    return trace_plan(make_plan(op, sample_problem(rows, width), kCapabilities)).value()[0].hash();
  };
  EXPECT_EQ(hash(3, 256), hash(7, 256));
  EXPECT_EQ(hash(3, 256), hash(7, 384)) << "another multiple of 128";
  EXPECT_NE(hash(3, 256), hash(3, 250));
}

TEST(TraceCall, ATensorMayBePassedTwice) {
  const Arg a = arg_of({4}, {false});
  KernelCall call;
  call.name = "test.kernel";
  call.args = {a, a};
  call.scalars = {scalar_f32("factor", 0.5F), scalar_i64("count", 3)};
  call.body = [](KernelBuilder&, std::span<const View> views, std::span<const Tile> scalars) {
    store(views[1], {0}, load(views[0], {0}, {4}) * scalars[0]);
  };
  call.args[1].access = Access::kWrite;
  const auto trace = trace_call(call);
  ASSERT_TRUE(trace.ok()) << trace.error().to_string();
  EXPECT_EQ(trace->views[1].name, "a_2");
  EXPECT_EQ(trace->scalars[1].name, "count");
}

TEST(NamedViews, HoldTheTensorsThatArePresent) {
  const Problem problem = sample_problem(4, 16);
  PlanBuilder builder(problem, kCapabilities);
  bool traced = false;
  builder.kernel_named("named", {1}, builder.tensors({"x", "y", "no_such_tensor"}),
                       [&](KernelBuilder&, const NamedViews& views) {
                         EXPECT_EQ(views["y"].index(), 1u);
                         EXPECT_FALSE(views.has("no_such_tensor"));
                         traced = true;
                       });
  ASSERT_TRUE(trace_call(std::move(builder).finish().calls[0]).ok());
  EXPECT_TRUE(traced);
}

}  // namespace
}  // namespace tessera::ops
