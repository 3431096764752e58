// SPDX-License-Identifier: Apache-2.0
// The numbers that change between replays of a captured step (positions, lengths, compressed and
// expert counts): one small device buffer, updated with one copy. A word is 8 bytes, little endian,
// so a kernel may load it as int64 or, when the value fits, as int32 from the same address.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/runtime/buffer.h"

namespace tessera::runtime {

class Device;
class Stream;

class StepState {
 public:
  /// All words start as 0 on the host; the device sees them after the first upload().
  static Result<StepState> create(Device& device, int words);

  int words() const { return static_cast<int>(values_.size()); }
  void set(int index, int64_t value);
  int64_t get(int index) const;
  /// Sends every word to the device in the stream's order. Must not be called inside a capture.
  Result<void> upload(Stream& stream) const;
  /// Device address of a word, to be passed as a kernel slot.
  uint64_t address(int index) const;
  Buffer& buffer() { return *buffer_; }

 private:
  StepState(std::unique_ptr<Buffer> buffer, int words)
      : buffer_(std::move(buffer)), values_(words) {}

  std::unique_ptr<Buffer> buffer_;
  std::vector<int64_t> values_;
};

}  // namespace tessera::runtime
