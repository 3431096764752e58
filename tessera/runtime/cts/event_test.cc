// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/cts/device_fixture.h"

namespace tessera::runtime::cts {
namespace {

class EventTest : public DeviceTest {
 protected:
  std::unique_ptr<Event> event() { return device->create_event().value(); }
};

TEST_F(EventTest, NeverRecordedCountsAsDone) {
  auto fresh = event();
  auto done = fresh->query();
  ASSERT_OK(done);
  EXPECT_TRUE(*done);
  ASSERT_OK(fresh->synchronize());
  ASSERT_OK(stream->wait(*fresh));
  ASSERT_OK(stream->synchronize());
}

TEST_F(EventTest, IsDoneAfterItsWork) {
  auto buffer = allocate(8 << 20);
  auto marker = event();
  ASSERT_OK(stream->fill(*buffer, 0, buffer->size(), 9));
  ASSERT_OK(stream->record(*marker));
  ASSERT_OK(marker->synchronize());
  auto done = marker->query();
  ASSERT_OK(done);
  EXPECT_TRUE(*done);
}

TEST_F(EventTest, TimeRunsForward) {
  auto buffer = allocate(16 << 20);
  auto start = event(), middle = event(), stop = event();
  ASSERT_OK(stream->record(*start));
  ASSERT_OK(stream->fill(*buffer, 0, buffer->size(), 1));
  ASSERT_OK(stream->record(*middle));
  for (uint8_t i = 0; i < 8; ++i) ASSERT_OK(stream->fill(*buffer, 0, buffer->size(), i));
  ASSERT_OK(stream->record(*stop));
  ASSERT_OK(stream->synchronize());
  const double first = middle->elapsed_ms_since(*start).value();
  const double all = stop->elapsed_ms_since(*start).value();
  EXPECT_GT(first, 0.0);
  EXPECT_GT(all, first);
  EXPECT_LT(all, 60e3);
}

TEST_F(EventTest, ElapsedTimeNeedsTwoRecords) {
  auto recorded = event(), fresh = event();
  ASSERT_OK(stream->record(*recorded));
  ASSERT_OK(stream->synchronize());
  EXPECT_ERROR(invalid_argument, "elapsed time of an event that was never recorded",
               recorded->elapsed_ms_since(*fresh));
  EXPECT_ERROR(invalid_argument, "elapsed time of an event that was never recorded",
               fresh->elapsed_ms_since(*recorded));
}

TEST_F(EventTest, AnotherStreamWaits) {
  auto second = device->create_stream().value();
  const auto sent = pattern(4 << 20, 1);
  auto a = upload(sent), b = allocate(sent.size()), c = allocate(sent.size());
  auto copied = event();
  ASSERT_OK(stream->copy(*b, 0, *a, 0, sent.size()));
  ASSERT_OK(stream->record(*copied));
  ASSERT_OK(second->wait(*copied));
  ASSERT_OK(second->copy(*c, 0, *b, 0, sent.size()));
  ASSERT_OK(second->synchronize());
  EXPECT_EQ(download(*c), sent);
}

TEST_F(EventTest, MayBeRecordedAgain) {
  auto start = event(), marker = event();
  ASSERT_OK(stream->record(*start));
  double last = 0;
  for (int i = 0; i < 3; ++i) {
    auto buffer = allocate(4 << 20);
    ASSERT_OK(stream->fill(*buffer, 0, buffer->size(), 1));
    ASSERT_OK(stream->record(*marker));
    ASSERT_OK(stream->synchronize());
    const double now = marker->elapsed_ms_since(*start).value();
    EXPECT_GT(now, last);
    last = now;
  }
}

TEST_F(EventTest, StreamsKeepTheirOwnOrder) {
  auto second = device->create_stream().value();
  auto a = allocate(1 << 20), b = allocate(1 << 20);
  for (uint8_t i = 0; i <= 20; ++i) {
    ASSERT_OK(stream->fill(*a, 0, a->size(), i));
    ASSERT_OK(second->fill(*b, 0, b->size(), static_cast<uint8_t>(100 + i)));
  }
  ASSERT_OK(second->synchronize());
  EXPECT_EQ(download(*a), std::vector(a->size(), std::byte{20}));
  EXPECT_EQ(download(*b), std::vector(b->size(), std::byte{120}));
}

}  // namespace
}  // namespace tessera::runtime::cts
