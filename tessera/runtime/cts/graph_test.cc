// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/branching_stream.h"
#include "tessera/runtime/cts/device_fixture.h"

namespace tessera::runtime::cts {
namespace {

using GraphTest = DeviceTest;

constexpr const char* kRefused =
    " inside a capture: a graph holds only launches, fills and copies between device buffers";

TEST_F(GraphTest, CaptureRecordsWithoutRunning) {
  auto buffer = upload(pattern(100, 1));
  ASSERT_OK(stream->begin_capture());
  EXPECT_TRUE(stream->capturing());
  ASSERT_OK(stream->fill(*buffer, 0, 100, 0));
  auto graph = stream->end_capture();
  ASSERT_OK(graph);
  EXPECT_FALSE(stream->capturing());
  EXPECT_EQ((*graph)->node_count(), 1u);
  EXPECT_EQ(&(*graph)->device(), device.get());
  EXPECT_EQ(download(*buffer), pattern(100, 1));
}

TEST_F(GraphTest, ReplaySeesChangedData) {
  auto a = allocate(1001), b = allocate(1001), c = allocate(1001);
  ASSERT_OK(stream->begin_capture());
  ASSERT_OK(stream->copy(*b, 0, *a, 0, 1001));
  ASSERT_OK(stream->fill(*b, 10, 7, 0xff));
  ASSERT_OK(stream->copy(*c, 1, *b, 0, 1000));
  ASSERT_OK(stream->fill_words(*c, 996, 4, 0x03020100));
  auto captured = stream->end_capture();
  ASSERT_OK(captured);
  EXPECT_EQ((*captured)->node_count(), 4u);
  for (uint32_t round = 0; round < 5; ++round) {
    const auto data = pattern(1001, round);
    ASSERT_OK(stream->copy_to_device(*a, 0, data));
    ASSERT_OK(stream->fill(*c, 0, 1001, 0x11));
    ASSERT_OK(stream->replay(**captured));
    auto expected = data;
    std::fill_n(expected.begin() + 10, 7, std::byte{0xff});
    ASSERT_EQ(download(*b), expected);
    expected.insert(expected.begin(), std::byte{0x11});
    expected.pop_back();
    for (size_t i = 0; i < 4; ++i) expected[996 + i] = static_cast<std::byte>(i);
    ASSERT_EQ(download(*c), expected);
  }
}

TEST_F(GraphTest, ManyNodesRunInOrder) {
  constexpr uint8_t kSteps = 250;
  auto buffer = allocate(4096 + 64);
  ASSERT_OK(stream->begin_capture());
  for (uint8_t i = 1; i <= kSteps; ++i) {
    ASSERT_OK(stream->fill(*buffer, 0, 64, i));
    ASSERT_OK(stream->copy(*buffer, 64 + size_t{i} * 16, *buffer, 0, 16));
  }
  auto graph = stream->end_capture().value();
  EXPECT_EQ(graph->node_count(), 2u * kSteps);
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK(stream->fill(*buffer, 0, buffer->size(), 0));
    ASSERT_OK(stream->replay(*graph));
    const auto bytes = download(*buffer);
    for (size_t i = 1; i <= kSteps; ++i)
      for (size_t k = 0; k < 16; ++k) ASSERT_EQ(bytes[64 + i * 16 + k], static_cast<std::byte>(i));
  }
}

// Long fills that nothing orders but the steps they wait for; chips that run one operation after
// the other have no branches.
TEST_F(GraphTest, StepsWaitForThoseTheyName) {
  auto* branching = dynamic_cast<BranchingStream*>(stream.get());
  if (branching == nullptr) GTEST_SKIP() << "the graphs of this chip are chains";
  constexpr size_t kBytes = size_t{8} << 20;
  auto a = allocate(kBytes), b = allocate(kBytes), c = allocate(kBytes);
  EXPECT_ERROR(invalid_argument, "begin_step: this stream is not capturing",
               branching->begin_step({}));
  ASSERT_OK(stream->begin_capture());
  const std::vector<uint32_t> first = {0}, both = {1, 2}, unknown = {3};
  ASSERT_OK(branching->begin_step({}));
  ASSERT_OK(stream->fill(*a, 0, kBytes, 1));
  ASSERT_OK(branching->begin_step(first));
  ASSERT_OK(stream->copy(*b, 0, *a, 0, kBytes));
  ASSERT_OK(stream->fill(*b, 0, kBytes / 2, 2));
  ASSERT_OK(branching->begin_step(first));
  ASSERT_OK(stream->copy(*c, 0, *a, 0, kBytes));
  EXPECT_ERROR(invalid_argument, "begin_step: step 3 waits for step 3",
               branching->begin_step(unknown));
  ASSERT_OK(branching->begin_step(both));
  ASSERT_OK(stream->copy(*a, 0, *b, 0, kBytes / 2));
  ASSERT_OK(stream->copy(*b, 0, *c, 0, kBytes / 4));
  auto graph = stream->end_capture();
  ASSERT_OK(graph);
  EXPECT_EQ((*graph)->node_count(), 6u);
  for (int round = 0; round < 5; ++round) {
    for (const auto& buffer : {&a, &b, &c}) ASSERT_OK(stream->fill(**buffer, 0, kBytes, 9));
    ASSERT_OK(stream->replay(**graph));
    std::vector<std::byte> expected(kBytes, std::byte{1});
    ASSERT_EQ(download(*c), expected);
    std::fill_n(expected.begin(), kBytes / 2, std::byte{2});
    ASSERT_EQ(download(*a), expected);
    std::fill_n(expected.begin(), kBytes / 4, std::byte{1});
    ASSERT_EQ(download(*b), expected);
  }
}

TEST_F(GraphTest, AnotherStreamMayReplay) {
  auto buffer = upload(pattern(64, 1));
  ASSERT_OK(stream->begin_capture());
  ASSERT_OK(stream->fill(*buffer, 0, 64, 3));
  auto graph = stream->end_capture().value();
  auto second = device->create_stream().value();
  ASSERT_OK(second->replay(*graph));
  ASSERT_OK(second->synchronize());
  EXPECT_EQ(download(*buffer), std::vector(64, std::byte{3}));
}

TEST_F(GraphTest, EmptyOnesReplay) {
  auto buffer = allocate(16);
  ASSERT_OK(stream->begin_capture());
  ASSERT_OK(stream->fill(*buffer, 0, 0, 3));
  ASSERT_OK(stream->copy(*buffer, 0, *buffer, 0, 0));
  auto graph = stream->end_capture();
  ASSERT_OK(graph);
  EXPECT_EQ((*graph)->node_count(), 0u);
  ASSERT_OK(stream->replay(**graph));
  ASSERT_OK(stream->synchronize());
}

TEST_F(GraphTest, WhatAGraphCannotHoldIsRefused) {
  auto buffer = allocate(16);
  auto event = device->create_event().value();
  std::vector<std::byte> host(16);
  ASSERT_OK(stream->begin_capture());
  auto inner = stream->end_capture().value();
  ASSERT_OK(stream->begin_capture());
  EXPECT_ERROR(invalid_argument, std::string("copy_to_device") + kRefused,
               stream->copy_to_device(*buffer, 0, host));
  EXPECT_ERROR(invalid_argument, std::string("copy_to_host") + kRefused,
               stream->copy_to_host(host, *buffer, 0));
  EXPECT_ERROR(invalid_argument, std::string("record") + kRefused, stream->record(*event));
  EXPECT_ERROR(invalid_argument, std::string("wait") + kRefused, stream->wait(*event));
  EXPECT_ERROR(invalid_argument, std::string("synchronize") + kRefused, stream->synchronize());
  EXPECT_ERROR(invalid_argument, std::string("replay") + kRefused, stream->replay(*inner));
  EXPECT_ERROR(invalid_argument, "begin_capture: this stream is capturing already",
               stream->begin_capture());
  ASSERT_OK(stream->fill(*buffer, 0, 16, 1));  // the capture goes on
  auto graph = stream->end_capture();
  ASSERT_OK(graph);
  EXPECT_EQ((*graph)->node_count(), 1u);
  EXPECT_ERROR(invalid_argument, "end_capture: this stream is not capturing",
               stream->end_capture());
}

TEST_F(GraphTest, AnAbandonedCaptureDoesNoHarm) {
  auto buffer = upload(pattern(64, 1));
  auto second = device->create_stream().value();
  ASSERT_OK(second->begin_capture());
  ASSERT_OK(second->fill(*buffer, 0, 64, 0));
  second.reset();
  EXPECT_EQ(download(*buffer), pattern(64, 1));
}

}  // namespace
}  // namespace tessera::runtime::cts
