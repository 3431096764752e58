// SPDX-License-Identifier: Apache-2.0
// Control flow and the device around the interpreter.
#include "tessera/chips/null/interpreter.h"

#include <gmock/gmock.h>

#include "tessera/chips/null/test_launch.h"

namespace tessera::chips::null {
namespace {

using lang::Access;
using lang::carry;
using lang::KernelBuilder;
using lang::Tile;
using lang::View;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Interpreter, ProgramsKnowTheirPlace) {
  TestLaunch run;
  const size_t y = run.tensor<int64_t>({2, 3}, std::vector<int64_t>(6));
  auto result = run.launch(
      [](KernelBuilder& k) {
        View y = k.view("y", DType::i64, 2, Access::kWrite);
        Tile i = k.program_id(1), j = k.program_id(0);
        store(y, {i, j}, 100 * k.num_programs(1) + 10 * i + j);
      },
      {3, 2, 1});
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<int64_t>(y), ElementsAre(200, 201, 202, 210, 211, 212));
}

TEST(Interpreter, LoopsCarryValues) {
  TestLaunch run;
  const size_t y = run.tensor<int64_t>({3}, {0, 0, 0});
  run.scalar(10);
  auto result = run.launch([](KernelBuilder& k) {
    View y = k.view("y", DType::i64, 1, Access::kWrite);
    Tile n = k.scalar("n", DType::i32);
    // Fibonacci: the carried values change places.
    auto [a, b, last] =
        k.for_range(0, n, 3, carry(k.index(0), k.index(1), k.index(-1)),
                    [](Tile i, Tile a, Tile b, Tile) { return carry(b, a + b, i); });
    store(y, {0}, a);
    store(y, {1}, b);
    store(y, {2}, last);
  });
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<int64_t>(y), ElementsAre(3, 5, 9));
}

TEST(Interpreter, EmptyLoopsGiveTheInitialValues) {
  TestLaunch run;
  const size_t y = run.tensor<int64_t>({1}, {0});
  auto result = run.launch([](KernelBuilder& k) {
    View y = k.view("y", DType::i64, 1, Access::kWrite);
    auto [a] = k.for_range(5, 5, 1, carry(k.index(7)), [](Tile, Tile a) { return carry(a + 1); });
    store(y, {0}, a);
  });
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<int64_t>(y), ElementsAre(7));
}

TEST(Interpreter, BranchesYield) {
  TestLaunch run;
  const size_t y = run.tensor<int64_t>({4}, {0, 0, 0, 0});
  auto result = run.launch(
      [](KernelBuilder& k) {
        View y = k.view("y", DType::i64, 1, Access::kWrite);
        Tile p = k.program_id(0);
        auto [v] = k.if_(p < 2, [&] { return carry(p * 10); }, [&] { return carry(-p); });
        k.if_(p != 3, [&] { store(y, {p}, v); });
      },
      {4, 1, 1});
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<int64_t>(y), ElementsAre(0, 10, -2, 0));
}

TEST(Interpreter, ALoopThatCannotEndIsAnError) {
  TestLaunch run;
  run.scalar(0);
  auto result = run.launch(
      [](KernelBuilder& k) { k.for_range(0, 4, k.scalar("step", DType::i64), [](Tile) {}); });
  EXPECT_THAT(error_of(result), HasSubstr(": for: the step is 0"));
}

TEST(Interpreter, GraphsReplayKernels) {
  TestLaunch run;
  const size_t y = run.tensor<int32_t>({1}, {0});
  ASSERT_TRUE(run.stream().begin_capture().ok());
  // Loading and synchronising are not captured, so the kernel is made by hand.
  auto trace = lang::trace_kernel("count", [](KernelBuilder& k) {
    View y = k.view("y", DType::i32, 1, Access::kReadWrite);
    store(y, {0}, load_scalar(y, {0}) + 1);
  });
  ASSERT_TRUE(trace.ok());
  runtime::KernelImage image;
  image.format = kTraceFormat;
  image.entry = "count";
  image.code = trace->serialize();
  image.slot_count = trace->slot_count;
  auto kernel = run.device().load(image).value();
  ASSERT_TRUE(run.stream().launch(*kernel, {3, 1, 1}, run.slots()).ok());
  auto graph = run.stream().end_capture().value();
  kernel.reset();
  EXPECT_THAT(run.read<int32_t>(y), ElementsAre(0));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(run.stream().replay(*graph).ok());
  EXPECT_THAT(run.read<int32_t>(y), ElementsAre(6));
}

TEST(Device, RefusesImagesThatAreNoTrace) {
  TestLaunch run;
  runtime::KernelImage image;
  image.format = kTraceFormat;
  image.entry = "noise";
  image.code.resize(8);
  auto kernel = run.device().load(image);
  ASSERT_FALSE(kernel.ok());
  EXPECT_EQ(kernel.error().code, ErrorCode::corrupt);
  EXPECT_THAT(kernel.error().to_string(),
              HasSubstr("kernel noise: corrupt: trace: the bytes are no trace"));
  image.code = lang::trace_kernel("empty", [](KernelBuilder&) {}).value().serialize();
  image.slot_count = 3;
  EXPECT_EQ(run.device().load(image).error().message,
            "kernel noise: the image says 3 slots, its trace 0");
}

TEST(Device, HasNoOptions) {
  auto found = devices({.option = "fast"});
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().message, "chip null has no options, \"fast\" was given");
}

}  // namespace
}  // namespace tessera::chips::null
