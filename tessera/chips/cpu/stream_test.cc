// SPDX-License-Identifier: Apache-2.0
// Launches and graphs of the cpu chip with functions of this program as kernels. What does not need
// a kernel is covered for all chips by tessera/runtime/cts.
#include "tessera/chips/cpu/stream.h"

#include <gtest/gtest.h>

#include <bit>
#include <thread>
#include <vector>

#include "tessera/chips/cpu/device.h"
#include "tessera/chips/cpu/executable.h"
#include "tessera/runtime/step_state.h"

namespace tessera::chips::cpu {
namespace {

using runtime::Buffer;
using runtime::Device;
using runtime::Executable;
using runtime::Grid;
using runtime::Stream;

/// Slots: counters (one u32 a program), amount.
void add(const uint64_t* slots, const uint32_t* grid, int64_t begin, int64_t end) {
  auto* counters = std::bit_cast<uint32_t*>(slots[0]);
  EXPECT_LE(end, int64_t{grid[0]} * grid[1] * grid[2]);
  for (int64_t i = begin; i < end; ++i) counters[i] += static_cast<uint32_t>(slots[1]);
}

/// Slots: address of an i64 in the step state, output. Writes the position.
void store_position(const uint64_t* slots, const uint32_t*, int64_t, int64_t) {
  *std::bit_cast<int64_t*>(slots[1]) = *std::bit_cast<const int64_t*>(slots[0]);
}

class CpuStreamTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    device =
        std::move(devices({.threads = GetParam(), .guard_end = true, .allow_host_functions = true})
                      .value()[0]);
    stream = device->create_stream().value();
    adder = device->load(host_function_image(add, 2)).value();
  }

  std::unique_ptr<Buffer> zeros(size_t bytes) {
    auto buffer = device->allocate(bytes).value();
    EXPECT_TRUE(stream->fill(*buffer, 0, bytes, 0).ok());
    return buffer;
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  std::shared_ptr<Executable> adder;
};

std::span<const uint32_t> words(const Buffer& buffer) {
  return {reinterpret_cast<const uint32_t*>(buffer.host_data()), buffer.size() / 4};
}

TEST_P(CpuStreamTest, EveryProgramRunsOnce) {
  for (const Grid grid :
       {Grid{1}, Grid{2}, Grid{17}, Grid{7, 5, 3}, Grid{100003}, Grid{1, 1, 999}}) {
    auto counters = zeros(static_cast<size_t>(grid.programs()) * 4);
    ASSERT_TRUE(stream->launch(*adder, grid, {{counters->address(), 3}}).ok());
    for (const uint32_t count : words(*counters)) ASSERT_EQ(count, 3u);
  }
}

TEST_P(CpuStreamTest, AnEmptyGridRunsNothing) {
  for (const Grid grid : {Grid{0}, Grid{5, 0}, Grid{5, 5, 0}})
    EXPECT_TRUE(stream->launch(*adder, grid, {{0, 0}}).ok());
}

TEST_P(CpuStreamTest, MisuseIsRefused) {
  const std::vector<uint64_t> one(1), two(2);
  EXPECT_EQ(stream->launch(*adder, {1}, one).error().message,
            "launch: 1 slots passed to a kernel with 2");
  EXPECT_EQ(stream->launch(*adder, {UINT32_MAX, UINT32_MAX, UINT32_MAX}, two).error().message,
            "launch: a grid of 4294967295 x 4294967295 x 4294967295 has more than 2^62 programs");
  auto other = std::move(devices({.option = "sse2"}).value()[0]);
  EXPECT_EQ(other->create_stream().value()->launch(*adder, {1}, two).error().message,
            "launch: the kernel is loaded on " + device->info().arch + ", the stream belongs to " +
                other->info().arch);
}

TEST_P(CpuStreamTest, HostFunctionsNeedPermission) {
  auto plain = std::move(devices({}).value()[0]);
  auto kernel = plain->load(host_function_image(add, 2));
  ASSERT_FALSE(kernel.ok());
  EXPECT_EQ(kernel.error().code, ErrorCode::unsupported);
}

TEST_P(CpuStreamTest, MissingFeaturesAreNamed) {
  auto image = host_function_image(add, 2);
  image.required_features = {"warp-drive", "holodeck"};
  EXPECT_EQ(device->load(image).error().message,
            "kernel host function needs warp-drive, holodeck, which " + device->info().name + " (" +
                device->info().arch + ") lacks");
}

TEST_P(CpuStreamTest, AGraphKeepsTheSlotsAndTheKernel) {
  auto counters = zeros(64 * 4);
  std::vector<uint64_t> slots = {counters->address(), 5};
  ASSERT_TRUE(stream->begin_capture().ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream->launch(*adder, {64}, slots).ok());
  ASSERT_TRUE(stream->launch(*adder, {0}, slots).ok());
  auto graph = stream->end_capture().value();
  EXPECT_EQ(graph->node_count(), 3u);
  EXPECT_EQ(words(*counters)[0], 0u);  // recorded, not run
  slots = {0, 0};
  adder.reset();
  for (uint32_t replay = 1; replay <= 4; ++replay) {
    ASSERT_TRUE(stream->replay(*graph).ok());
    for (const uint32_t count : words(*counters)) ASSERT_EQ(count, 15 * replay);
  }
}

TEST_P(CpuStreamTest, AReplaySeesTheStepState) {
  auto state = runtime::StepState::create(*device, 3).value();
  auto out = zeros(8);
  auto kernel = device->load(host_function_image(store_position, 2)).value();
  ASSERT_TRUE(stream->begin_capture().ok());
  ASSERT_TRUE(stream->launch(*kernel, {1}, {{state.address(2), out->address()}}).ok());
  auto graph = stream->end_capture().value();
  for (const int64_t position : {int64_t{7}, int64_t{-1}, INT64_MAX}) {
    state.set(2, position);
    ASSERT_TRUE(state.upload(*stream).ok());
    ASSERT_TRUE(stream->replay(*graph).ok());
    EXPECT_EQ(*reinterpret_cast<const int64_t*>(out->host_data()), position);
  }
}

TEST_P(CpuStreamTest, ThreadsMayUseStreamsOfOneDevice) {
  constexpr int kThreads = 4, kRounds = 50;
  std::vector<std::unique_ptr<Buffer>> counters;
  for (int i = 0; i < kThreads; ++i) counters.push_back(zeros(1000 * 4));
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      auto own = device->create_stream().value();
      ASSERT_TRUE(own->begin_capture().ok());
      ASSERT_TRUE(own->launch(*adder, {1000}, {{counters[i]->address(), 1}}).ok());
      auto graph = own->end_capture().value();
      for (int round = 0; round < kRounds; ++round) {
        ASSERT_TRUE(own->replay(*graph).ok());
        ASSERT_TRUE(own->launch(*adder, {1000}, {{counters[i]->address(), 1}}).ok());
      }
    });
  for (auto& thread : threads) thread.join();
  for (const auto& buffer : counters)
    for (const uint32_t count : words(*buffer)) ASSERT_EQ(count, 2u * kRounds);
}

INSTANTIATE_TEST_SUITE_P(Threads, CpuStreamTest, testing::Values(1, 2, 5));

}  // namespace
}  // namespace tessera::chips::cpu
