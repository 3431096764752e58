// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/program_builder.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tessera/kernels/testing/sample_kernels.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::model {
namespace {

constexpr int64_t kRows = 3, kWidth = 64;

TEST(ArenaPlan, BlocksOfCommonCallsLieApart) {
  const std::vector<ArenaBlock> blocks = {{1000, 0, 2}, {300, 1, 1}, {0, 1, 5},   {700, 2, 4},
                                          {300, 2, 3},  {100, 4, 5}, {5000, 5, 6}};
  const ArenaPlan plan = plan_arena(blocks);
  for (size_t a = 0; a < blocks.size(); ++a) {
    EXPECT_EQ(plan.offsets[a] % ArenaPlan::kAlignment, 0);
    EXPECT_LE(plan.offsets[a] + blocks[a].bytes, plan.bytes);
    for (size_t b = 0; b < a; ++b) {
      const bool together = blocks[a].first <= blocks[b].last && blocks[b].first <= blocks[a].last;
      const bool apart = plan.offsets[a] + blocks[a].bytes <= plan.offsets[b] ||
                         plan.offsets[b] + blocks[b].bytes <= plan.offsets[a];
      EXPECT_TRUE(!together || apart) << a << " and " << b;
    }
  }
}

TEST(ArenaPlan, AChainNeedsTwoLinksAndGapsAreFilled) {
  std::vector<ArenaBlock> chain;
  for (int i = 0; i < 50; ++i) chain.push_back({1024, i, i + 1});
  EXPECT_EQ(plan_arena(chain).bytes, 2 * 1024);
  const ArenaPlan gap = plan_arena(std::vector<ArenaBlock>{{512, 0, 1}, {512, 0, 9}, {512, 2, 3}});
  EXPECT_EQ(gap.bytes, 1024);
  EXPECT_EQ(plan_arena({}).bytes, 0);
}

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest()
      : device_(runtime::open_device("null").value()),
        provider_(std::make_shared<kernels::testing::TraceProvider>()),
        library_(*device_, {.provider = provider_}),
        operators_(library_),
        stream_(device_->create_stream().value()) {}

  std::unique_ptr<runtime::Buffer> floats(std::vector<float> values) {
    auto buffer = device_->allocate(values.size() * sizeof(float)).value();
    stream_->copy_to_device(*buffer, 0, std::as_bytes(std::span(values))).value();
    return buffer;
  }
  std::vector<float> read(const runtime::Buffer& buffer) {
    std::vector<float> values(buffer.size() / sizeof(float));
    stream_->copy_to_host(std::as_writable_bytes(std::span(values)), buffer, 0).value();
    stream_->synchronize().value();
    return values;
  }
  static void norm(ProgramBuilder& b, Value x, Value w, Value y) {
    b.call("rms_norm", {{"x", x}, {"w", w}, {"y", y}}, {{"eps", 0}});
  }

  std::unique_ptr<runtime::Device> device_;
  std::shared_ptr<kernels::testing::TraceProvider> provider_;
  kernels::KernelLibrary library_;
  OperatorStore operators_;
  std::unique_ptr<runtime::Stream> stream_;
};

// A row of equal numbers normalised is a row of ones times w: each norm multiplies by w of the
// last one only, and the temporaries of a long chain take turns in two places.
TEST_F(ProgramTest, RunsAndReplaysAChainThroughTheArena) {
  auto x = floats(std::vector<float>(kRows * kWidth, 5));
  auto y = floats(std::vector<float>(kRows * kWidth, -1));
  std::vector<float> ramp(kWidth);
  std::iota(ramp.begin(), ramp.end(), 1.0f);
  auto ones = floats(std::vector<float>(kWidth, 1)), weight = floats(ramp);

  ProgramBuilder b;
  const ops::TensorDesc rows{DType::f32, {kRows, kWidth}}, vector{DType::f32, {kWidth}};
  const Value w = b.bound(vector, ones->address());
  b.section("chain");
  Value value = b.bound(rows, x->address());
  for (int i = 0; i < 6; ++i) {
    const Value next = b.temporary(DType::f32, {kRows, kWidth});
    norm(b, value, w, next);
    value = next;
  }
  b.section("end");
  norm(b, value, b.bound(vector, weight->address()), b.bound(rows, y->address()));
  EXPECT_EQ(b.arena_bytes(operators_.planning()).value(), 2 * kRows * kWidth * 4);
  Program program = std::move(b).build(operators_).value();
  EXPECT_EQ(program.call_count(), 7u);
  EXPECT_EQ(provider_->calls, 1) << "one problem, one kernel";
  EXPECT_EQ(program.arena_bytes(), 2 * kRows * kWidth * 4);
  ASSERT_EQ(program.sections().size(), 2u);
  EXPECT_EQ(program.sections()[0].last, 6u);
  EXPECT_EQ(program.sections()[1].last, 7u);
  EXPECT_GT(program.sections()[0].cost.bytes_read, 5 * program.sections()[1].cost.bytes_read);

  auto arena = device_->allocate(static_cast<size_t>(program.arena_bytes())).value();
  auto small = device_->allocate(16).value();
  EXPECT_EQ(program.bind(*small).error().message,
            "the program needs an arena of 1536 bytes, got 16");
  program.bind(*arena).value();
  program.run(*stream_).value();
  for (int64_t i = 0; i < kRows * kWidth; ++i)
    EXPECT_FLOAT_EQ(read(*y)[static_cast<size_t>(i)], ramp[static_cast<size_t>(i % kWidth)]);

  auto graph = program.capture(*stream_).value();
  EXPECT_EQ(graph.node_count(), program.kernel_count());
  EXPECT_EQ(graph.graph_count(), 1u);
  stream_->fill(*y, 0, y->size(), 0).value();
  graph.replay(*stream_).value();
  EXPECT_FLOAT_EQ(read(*y)[kWidth + 1], 2);
}

TEST_F(ProgramTest, ViewsShareTheMemoryOfTheirValue) {
  auto x = floats(std::vector<float>(4 * 8, 1));
  auto ones = floats(std::vector<float>(8, 1)), twos = floats(std::vector<float>(8, 2));
  ProgramBuilder b;
  const Value all = b.bound({DType::f32, {2, 2, 8}}, x->address());
  const Value flat = b.reshaped(all, {4, 8});
  const Value second = b.narrowed(flat, 0, 1, 1), columns = b.narrowed(all, 1, 1, 1);
  EXPECT_EQ(b.desc(columns).strides, (std::vector<int64_t>{16, 8, 1}));
  norm(b, b.narrowed(flat, 0, 0, 1), b.bound({DType::f32, {8}}, twos->address()), second);
  Program program = std::move(b).build(operators_).value();
  auto arena = device_->allocate(0).value();
  program.bind(*arena).value();
  program.run(*stream_).value();
  EXPECT_FLOAT_EQ(read(*x)[7], 1);
  EXPECT_FLOAT_EQ(read(*x)[8], 2);
  EXPECT_FLOAT_EQ(read(*x)[15], 2);
  EXPECT_FLOAT_EQ(read(*x)[16], 1);
}

TEST_F(ProgramTest, ProgramsShareOperators) {
  for (int turn = 0; turn < 2; ++turn) {
    ProgramBuilder b;
    norm(b, b.bound({DType::f32, {2, 8}}, 64), b.bound({DType::f32, {8}}, 64),
         b.bound({DType::f32, {2, 8}}, 128));
    EXPECT_TRUE(std::move(b).build(operators_).ok());
    EXPECT_EQ(provider_->calls, 1);
  }
}

TEST_F(ProgramTest, KernelsAreKnownBeforeAnythingCompiles) {
  ProgramBuilder b;
  for (const int64_t rows : {2, 2, 3, 40})
    norm(b, b.bound({DType::f32, {rows, 8}}, 64), b.bound({DType::f32, {8}}, 64),
         b.bound({DType::f32, {rows, 8}}, 128));
  const auto kernels = kernels_of(*b.uses(), operators_.planning()).value();
  EXPECT_EQ(provider_->calls, 0);
  ASSERT_EQ(kernels.size(), 2u) << "one of 2 to 8 rows, one of more";
  EXPECT_EQ(kernels[0].name, "rms_norm.rows");
  EXPECT_TRUE(std::move(b).build(operators_).ok());
  EXPECT_EQ(provider_->calls, 2);
}

TEST_F(ProgramTest, MistakesNameTheCall) {
  const auto message = [&](auto&& mistake) {
    ProgramBuilder b;
    const Value w = b.bound({DType::f32, {8}}, 64);
    const Value x = b.bound({DType::f32, {2, 8}}, 64);
    b.section("attention");
    mistake(b, x, w);
    norm(b, x, w, x);
    EXPECT_FALSE(b.arena_bytes(operators_.planning()).ok());
    const Error error = std::move(b).build(operators_).error();
    EXPECT_EQ(error.context, (std::vector<std::string>{"call 0 in attention"}));
    return error.message;
  };
  EXPECT_EQ(message([](ProgramBuilder& b, Value x, Value w) {
              norm(b, x, w, b.temporary(DType::f32, {2, 9}));
            }),
            "rms_norm: y is f32[2, 9], expected [T, D] with T = 2 (from x), D = 8 (from x)");
  EXPECT_EQ(message([](ProgramBuilder& b, Value x, Value w) {
              norm(b, b.temporary(DType::f32, {2, 8}), w, x);
            }),
            "rms_norm reads x, a temporary that nothing has written");
  EXPECT_EQ(message([](ProgramBuilder& b, Value x, Value) { b.call("rms_norm", {{"z", x}}); }),
            "rms_norm: no tensor z");
  EXPECT_EQ(message([](ProgramBuilder& b, Value x, Value w) { norm(b, x, w, Value{}); }),
            "rms_norm: y is missing");
  EXPECT_NE(
      message([](ProgramBuilder& b, Value x, Value) { b.call("rms", {{"x", x}}); }).find("rms"),
      std::string::npos);
}

TEST_F(ProgramTest, AKernelThatDoesNotCompileIsNamed) {
  provider_->failing = "rms_norm.rows";
  ProgramBuilder b;
  norm(b, b.bound({DType::f32, {2, 8}}, 64), b.bound({DType::f32, {8}}, 64),
       b.bound({DType::f32, {2, 8}}, 128));
  const Error error = std::move(b).build(operators_).error();
  EXPECT_EQ(error.message, "the compiler gave up");
  EXPECT_EQ(error.context.back(), "rms_norm D=8 T=2 x=f32 w=f32 y=f32 eps=0");
}

}  // namespace
}  // namespace tessera::model
