// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/memory.h"

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
using testing::EndsWith;
using testing::HasSubstr;

TEST(Memory, OutOfBoundsElementsReadTheFillAndAreNotWritten) {
  TestLaunch run;
  run.tensor<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  const size_t y = run.tensor<float>({3, 5}, std::vector<float>(15, -1));
  auto result = run.launch([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 2, Access::kRead),
         y = k.view("y", DType::f32, 2, Access::kWrite);
    store(y, {-1, 2}, load(x, {-1, 1}, {4, 4}, 9));
  });
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  // The tile is rows -1..2, columns 1..4 of x, and row 0 of the tile is outside of y.
  EXPECT_THAT(run.read<float>(y), ElementsAre(-1, -1, 2, 3, 9, -1, -1, 5, 6, 9, -1, -1, 9, 9, 9));
}

TEST(Memory, LeadingDimensionsArePlainIndices) {
  TestLaunch run;
  run.tensor<int32_t>({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  const size_t y = run.tensor<int32_t>({4}, {-1, -1, -1, -1});
  auto result = run.launch([](KernelBuilder& k) {
    View x = k.view("x", DType::i32, 3, Access::kRead),
         y = k.view("y", DType::i32, 1, Access::kWrite);
    store(y, {0}, load(x, {1, 1, 0}, {2}));
    store(y, {2}, load_scalar(x, {0, 1, 1}));
    store(y, {3}, load_scalar(x, {2, 0, 0}, 77));
  });
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<int32_t>(y), ElementsAre(6, 7, 3, 77));
}

TEST(Memory, BoundedViewsEndEarlier) {
  TestLaunch run;
  run.tensor<int32_t>({4}, {1, 2, 3, 4});
  run.tensor<int32_t>({1}, {3});
  const size_t y = run.tensor<int32_t>({4}, {0, 0, 0, 0});
  auto result = run.launch([](KernelBuilder& k) {
    View x = k.view("x", DType::i32, 1, Access::kRead),
         n = k.view("n", DType::i32, 1, Access::kRead);
    View y = k.view("y", DType::i32, 1, Access::kWrite);
    Tile length = load_scalar(n, {0});
    store(y.bounded(0, x.bounded(0, length).extent(0) - 1), {0},
          load(x.bounded(0, length), {1}, {4}, 9));
  });
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<int32_t>(y), ElementsAre(2, 3, 0, 0));
}

TEST(Memory, MasksKeepElements) {
  TestLaunch run;
  const size_t y = run.tensor<int32_t>({4}, {9, 9, 9, 9});
  auto result = run.launch([](KernelBuilder& k) {
    View y = k.view("y", DType::i32, 1, Access::kWrite);
    Tile i = k.iota({4}, 0);
    store_masked(y, {0}, i, (i & 1) == 1);
  });
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<int32_t>(y), ElementsAre(9, 1, 9, 3));
}

TEST(Memory, GatherSkipsRowsOutOfBounds) {
  TestLaunch run;
  run.tensor<float>({3, 2}, {1, 2, 3, 4, 5, 6});
  run.tensor<int32_t>({4}, {1, -1, 0, 7});
  const size_t y = run.tensor<float>({4, 2}, std::vector<float>(8));
  const size_t z = run.tensor<float>({4}, std::vector<float>(4));
  auto result = run.launch([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 2, Access::kRead),
         ids = k.view("ids", DType::i32, 1, Access::kRead);
    View y = k.view("y", DType::f32, 2, Access::kWrite),
         z = k.view("z", DType::f32, 1, Access::kWrite);
    Tile rows = load(ids, {0}, {4});
    store(y, {0, 0}, gather(x, {1, 0}, rows, 2, -1));  // base 1: rows 2, none, 1, none
    store(z, {0}, gather(x, {2, 0}, rows, 0, -1));     // columns 1, none, 0, none of row 2
  });
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<float>(y), ElementsAre(5, 6, -1, -1, 3, 4, -1, -1));
  EXPECT_THAT(run.read<float>(z), ElementsAre(6, -1, 5, -1));
}

TEST(Memory, ScatterAndAtomicAdd) {
  TestLaunch run;
  const size_t y = run.tensor<int32_t>({3, 2}, std::vector<int32_t>(6));
  const size_t count = run.tensor<int32_t>({4}, {10, 0, 0, 0});
  auto result = run.launch(
      [](KernelBuilder& k) {
        View y = k.view("y", DType::i32, 2, Access::kWrite);
        View count = k.view("count", DType::i32, 1, Access::kReadWrite);
        Tile i = k.iota({4}, 0);
        scatter(y, {0, 0}, 3 - i, reshape(k.iota({8}, 0), {4, 2}));  // rows 3 (outside), 2, 1, 0
        atomic_add(count, {0}, select(i == 3, -1, i / 2), k.constant(DType::i32, {4}, 1));
      },
      {5, 1, 1});
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<int32_t>(y), ElementsAre(6, 7, 4, 5, 2, 3));
  EXPECT_THAT(run.read<int32_t>(count), ElementsAre(20, 5, 0, 0));
}

TEST(Memory, F4LiesTwoAByteLowNibbleFirst) {
  TestLaunch run;
  run.tensor<uint8_t>({2, 4}, {0x21, 0x43, 0x65, 0x87});  // codes 1..8
  const size_t y = run.tensor<uint8_t>({2, 4}, {0xff, 0xff, 0xff, 0xff});
  run.slots()[run.slots().size() - 2] = 3;  // y: three columns, rows four elements apart
  const size_t z = run.tensor<float>({4}, std::vector<float>(4));
  auto result = run.launch([](KernelBuilder& k) {
    View x = k.view("x", DType::f4e2m1, 2, Access::kRead),
         y = k.view("y", DType::f4e2m1, 2, Access::kWrite);
    View z = k.view("z", DType::f32, 1, Access::kWrite);
    Tile tile = load(x, {0, 0}, {2, 4});
    store(y, {0, 0}, tile);
    store(z, {0}, cast(load(x, {1, 0}, {4}), DType::f32));
  });
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_THAT(run.read<uint8_t>(y),
              ElementsAre(0x21, 0xf3, 0x65, 0xf7));  // column 3 keeps its nibble
  EXPECT_THAT(run.read<float>(z), ElementsAre(3, 4, 6, -0.0f));
}

/// What a launch of one store or load to `offset` of a tensor of four f32 says.
std::string access_error(int64_t extent, int64_t offset, bool write) {
  TestLaunch run;
  run.tensor<float>({4}, {0, 0, 0, 0});
  run.slots()[1] = static_cast<uint64_t>(extent);
  return error_of(run.launch([&](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 1, Access::kReadWrite);
    Tile tile = write ? k.zeros(DType::f32, {4}) : load(x, {offset}, {4});
    if (write) store(x, {offset}, tile);
  }));
}

TEST(Memory, LeavingTheBufferIsAnError) {
  EXPECT_EQ(access_error(4, 2, false), "");
  EXPECT_EQ(access_error(4, 2, true), "");
  const std::string text = access_error(100, 3, false);
  EXPECT_THAT(
      text,
      HasSubstr("kernel 'test.kernel', program (0, 0, 0), tessera/chips/null/memory_test.cc:"));
  EXPECT_THAT(
      text,
      EndsWith(
          ": load: view 'x': elements 3 to 6 lie outside the buffer, which ends at element 4"));
  EXPECT_THAT(
      access_error(100, 4, true),
      EndsWith(
          ": store: view 'x': elements 4 to 7 lie outside the buffer, which ends at element 4"));
}

TEST(Memory, FreedMemoryIsAnError) {
  TestLaunch run;
  run.tensor<float>({4}, {0, 0, 0, 0});
  run.slots()[0] = 64;
  EXPECT_THAT(error_of(run.launch([](KernelBuilder& k) {
                load(k.view("x", DType::f32, 1, Access::kRead), {0}, {4});
              })),
              EndsWith(": load: view 'x': address 0x40 lies in no buffer of the device"));
}

TEST(Memory, ImportedMemoryIsReadOnly) {
  TestLaunch run;
  const std::vector<float> host = {1, 2, 3, 4};
  auto buffer = run.device().import_host(std::as_bytes(std::span(host))).value();
  run.scalar(buffer->address());
  run.scalar(4);
  EXPECT_THAT(error_of(run.launch([](KernelBuilder& k) {
                store(k.view("x", DType::f32, 1, Access::kWrite), {0}, 1.0);
              })),
              EndsWith(": store: view 'x': the buffer is read-only"));
}

TEST(Memory, BoundsBeyondTheViewAreAnError) {
  TestLaunch run;
  run.tensor<float>({4}, {0, 0, 0, 0});
  EXPECT_THAT(error_of(run.launch([](KernelBuilder& k) {
                load(k.view("x", DType::f32, 1, Access::kRead).bounded(0, 5), {0}, {4});
              })),
              EndsWith(": load: view 'x': extent 0 is bounded to 5, beyond its own 4"));
}

TEST(Memory, OddF4OffsetsAreAnError) {
  TestLaunch run;
  run.tensor<uint8_t>({8}, {0, 0, 0, 0});
  EXPECT_THAT(
      error_of(run.launch(
          [](KernelBuilder& k) { load(k.view("x", DType::f4e2m1, 1, Access::kRead), {3}, {4}); })),
      EndsWith(": load: view 'x': a tile of f4e2m1 starts at element 3, in the middle of a byte"));
}

TEST(Memory, BrokenPromisesAreAnError) {
  const auto launch = [](lang::ViewTraits traits, lang::Divisor divisor,
                         uint64_t address_offset = 0) {
    TestLaunch run;
    run.tensor<float>({4, 24}, std::vector<float>(4 * 24));
    run.slots()[0] += address_offset;
    run.scalar(24);
    return error_of(run.launch([&](KernelBuilder& k) {
      k.view("x", DType::f32, 2, Access::kRead, traits);
      k.scalar("n", DType::i32, divisor);
    }));
  };
  EXPECT_EQ(launch({}, 2), "");
  EXPECT_EQ(launch({.extent_divisors = {2, 16}}, 1),
            "kernel 'test.kernel': view 'x': extent 1 is 24, promised to be a multiple of 16");
  EXPECT_EQ(launch({.stride_divisors = {128}}, 1),
            "kernel 'test.kernel': view 'x': stride 0 is 24, promised to be a multiple of 128");
  EXPECT_EQ(launch({.extent_divisors = {0, 1}}, 1),
            "kernel 'test.kernel': view 'x': extent 0 is 4, promised to be 1");
  EXPECT_EQ(launch({}, 16),
            "kernel 'test.kernel': scalar 'n' is 24, promised to be a multiple of 16");
  EXPECT_THAT(launch({}, 1, 2), HasSubstr("view 'x': address 0x"));
}

TEST(Memory, HostileSizesDoNotOverflow) {
  for (const uint64_t number : {uint64_t{1} << 62, uint64_t{1} << 63, ~uint64_t{0}})
    for (const size_t slot : {1, 2, 3}) {
      TestLaunch run;
      run.tensor<float>({4, 4}, std::vector<float>(16));
      run.slots()[slot] = number;
      run.scalar(number);
      (void)run.launch([](KernelBuilder& k) {
        View x = k.view("x", DType::f32, 2, Access::kReadWrite);
        Tile at = k.scalar("at", DType::i64);
        store(x, {at, at}, load(x, {at, 2}, {4, 4}));
        store(x, {2, 0}, gather(x, {at, at}, k.iota({4}, 0), 4));
      });
    }
}

}  // namespace
}  // namespace tessera::chips::null
