// SPDX-License-Identifier: Apache-2.0
// An in-order queue of work on one device. One thread at a time may use a stream; different streams
// of a device may be used by different threads.
//
// The public functions check their arguments once for all chips (same rules, same error texts); a
// chip implements the protected do_ functions and may rely on the checks. Errors of asynchronous
// work appear at synchronize() at the latest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "tessera/base/result.h"
#include "tessera/runtime/buffer.h"
#include "tessera/runtime/event.h"
#include "tessera/runtime/executable.h"
#include "tessera/runtime/graph.h"

namespace tessera::runtime {

/// Program instances of a launch; any extent may be 0. A chip folds grids above its own limits.
struct Grid {
  uint32_t x = 1, y = 1, z = 1;

  bool empty() const { return x == 0 || y == 0 || z == 0; }
  /// Total number of programs, saturating at 2^63 - 1.
  int64_t programs() const {
    int64_t total = 0;
    const bool overflow = __builtin_mul_overflow(static_cast<uint64_t>(x) * y, z, &total);
    return overflow ? INT64_MAX : total;
  }
  friend bool operator==(const Grid&, const Grid&) = default;
};

class Stream {
 public:
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device& device() const { return device_; }

  /// Copies `from` into `to` at byte `offset`. `from` may be reused on return. Refused in a
  /// capture.
  Result<void> copy_to_device(Buffer& to, size_t offset, std::span<const std::byte> from);
  /// Copies bytes of `from` to the host. `to` is defined after synchronize(). Refused in a capture.
  Result<void> copy_to_host(std::span<std::byte> to, const Buffer& from, size_t offset);
  /// Copies between buffers of this device; ranges of one buffer must not overlap.
  Result<void> copy(Buffer& to, size_t to_offset, const Buffer& from, size_t from_offset,
                    size_t bytes);
  /// Sets every byte of a range.
  Result<void> fill(Buffer& buffer, size_t offset, size_t bytes, uint8_t value);
  /// Sets every 32-bit word of a range; offset and bytes must be multiples of 4.
  Result<void> fill_words(Buffer& buffer, size_t offset, size_t bytes, uint32_t value);

  /// Runs grid.programs() instances of a kernel. Every argument is one 64-bit slot (address,
  /// extent, stride in elements, scalar bit pattern); the values are copied. An empty grid does
  /// nothing.
  Result<void> launch(Executable& executable, Grid grid, std::span<const uint64_t> slots) {
    const bool valid = slots.size() == executable.slot_count() && &executable.device() == &device_;
    const int64_t programs = grid.programs();
    if (!valid || programs > kMaxPrograms) [[unlikely]]
      return launch_error(executable, grid, slots.size());
    if (programs == 0) return {};
    return do_launch(executable, grid, slots);
  }

  /// Marks this point of the stream in `event`. Refused in a capture.
  Result<void> record(Event& event);
  /// Later work of this stream starts after the last record() of `event`, on whatever stream of
  /// this device.
  Result<void> wait(Event& event);
  /// Blocks the host until all work is done; reports the first error of that work.
  Result<void> synchronize();

  /// From here to end_capture(), launches, copies and fills are recorded instead of run.
  Result<void> begin_capture();
  Result<std::unique_ptr<Graph>> end_capture();
  bool capturing() const { return capturing_; }
  /// Runs a graph captured on any stream of this device.
  Result<void> replay(Graph& graph);

  static constexpr int64_t kMaxPrograms = int64_t{1} << 62;

 protected:
  explicit Stream(Device& device) : device_(device) {}

  // Ranges are checked and not empty. Within a capture (capturing() is true) they record.
  virtual Result<void> do_copy_to_device(Buffer& to, size_t offset,
                                         std::span<const std::byte> from) = 0;
  virtual Result<void> do_copy_to_host(std::span<std::byte> to, const Buffer& from,
                                       size_t offset) = 0;
  virtual Result<void> do_copy(Buffer& to, size_t to_offset, const Buffer& from, size_t from_offset,
                               size_t bytes) = 0;
  /// `pattern_bytes` is 1 (the value is repeated in all four bytes) or 4.
  virtual Result<void> do_fill(Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                               uint32_t pattern_bytes) = 0;
  virtual Result<void> do_launch(Executable& executable, Grid grid,
                                 std::span<const uint64_t> slots) = 0;
  virtual Result<void> do_record(Event& event) = 0;
  virtual Result<void> do_wait(Event& event) = 0;
  virtual Result<void> do_synchronize() = 0;
  virtual Result<void> do_begin_capture() = 0;
  virtual Result<std::unique_ptr<Graph>> do_end_capture() = 0;
  virtual Result<void> do_replay(Graph& graph) = 0;

 private:
  Result<void> launch_error(const Executable& executable, Grid grid, size_t slots) const;
  Result<void> refuse_in_capture(const char* what) const;

  Device& device_;
  bool capturing_ = false;
};

}  // namespace tessera::runtime
