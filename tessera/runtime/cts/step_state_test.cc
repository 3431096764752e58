// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/step_state.h"

#include <cstring>

#include "tessera/runtime/cts/device_fixture.h"

namespace tessera::runtime::cts {
namespace {

class StepStateTest : public DeviceTest {
 protected:
  std::vector<int64_t> words(const Buffer& buffer) {
    const auto bytes = download(buffer);
    std::vector<int64_t> words(bytes.size() / 8);
    if (!words.empty()) std::memcpy(words.data(), bytes.data(), bytes.size());
    return words;
  }
};

TEST_F(StepStateTest, UploadSendsEveryWord) {
  auto state = StepState::create(*device, 3);
  ASSERT_OK(state);
  EXPECT_EQ(state->words(), 3);
  ASSERT_OK(state->upload(*stream));
  EXPECT_EQ(words(state->buffer()), (std::vector<int64_t>{0, 0, 0}));
  state->set(0, -1);
  state->set(2, INT64_MAX);
  EXPECT_EQ(state->get(2), INT64_MAX);
  ASSERT_OK(state->upload(*stream));
  EXPECT_EQ(words(state->buffer()), (std::vector<int64_t>{-1, 0, INT64_MAX}));
  EXPECT_EQ(state->address(2), state->buffer().address() + 16);
}

TEST_F(StepStateTest, AReplayUsesWhatWasUploaded) {
  auto state = StepState::create(*device, 2).value();
  auto seen = allocate(8);
  ASSERT_OK(stream->begin_capture());
  ASSERT_OK(stream->copy(*seen, 0, state.buffer(), 8, 8));
  auto graph = stream->end_capture().value();
  for (const int64_t position : {5, 6, 1000000}) {
    state.set(1, position);
    ASSERT_OK(state.upload(*stream));
    ASSERT_OK(stream->replay(*graph));
    EXPECT_EQ(words(*seen), std::vector<int64_t>{position});
  }
}

TEST_F(StepStateTest, UploadInsideACaptureIsRefused) {
  auto state = StepState::create(*device, 1).value();
  ASSERT_OK(stream->begin_capture());
  EXPECT_ERROR(
      invalid_argument,
      "copy_to_device inside a capture: a graph holds only launches, fills and copies between "
      "device buffers",
      state.upload(*stream));
  ASSERT_OK(stream->end_capture());
}

TEST_F(StepStateTest, NegativeSizesAreRefused) {
  EXPECT_ERROR(invalid_argument, "a step state of -1 words", StepState::create(*device, -1));
  ASSERT_OK(StepState::create(*device, 0));
}

}  // namespace
}  // namespace tessera::runtime::cts
