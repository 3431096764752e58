// SPDX-License-Identifier: Apache-2.0
// The null chip's stream, event and graph. Everything runs at once on the calling thread, so a
// stream is always idle between calls, an event is a time stamp and a graph a list of calls.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "tessera/chips/null/device.h"
#include "tessera/runtime/stream.h"

namespace tessera::chips::null {

class NullEvent final : public runtime::Event {
 public:
  explicit NullEvent(runtime::Device& device) : Event(device) {}

  void stamp();

  Result<bool> query() override { return true; }
  Result<void> synchronize() override { return {}; }
  Result<double> elapsed_ms_since(runtime::Event& start) override;

 private:
  std::atomic<int64_t> nanoseconds_{0};  // monotonic clock; 0 = never recorded
};

/// Captured operations, with copies of their arguments; kernels are kept alive by the closures.
using Recording = std::vector<std::function<Result<void>()>>;

class NullGraph final : public runtime::Graph {
 public:
  NullGraph(runtime::Device& device, Recording recording)
      : Graph(device, recording.size()), recording_(std::move(recording)) {}

  const Recording& recording() const { return recording_; }

 private:
  Recording recording_;
};

class NullStream final : public runtime::Stream {
 public:
  explicit NullStream(NullDevice& device) : Stream(device), live_(device.live()) {}

 private:
  Result<void> do_copy_to_device(runtime::Buffer& to, size_t offset,
                                 std::span<const std::byte> from) override;
  Result<void> do_copy_to_host(std::span<std::byte> to, const runtime::Buffer& from,
                               size_t offset) override;
  Result<void> do_copy(runtime::Buffer& to, size_t to_offset, const runtime::Buffer& from,
                       size_t from_offset, size_t bytes) override;
  Result<void> do_fill(runtime::Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                       uint32_t pattern_bytes) override;
  Result<void> do_launch(runtime::Executable& executable, runtime::Grid grid,
                         std::span<const uint64_t> slots) override;
  Result<void> do_record(runtime::Event& event) override;
  Result<void> do_wait(runtime::Event&) override { return {}; }
  Result<void> do_synchronize() override { return {}; }
  Result<void> do_begin_capture() override;
  Result<std::unique_ptr<runtime::Graph>> do_end_capture() override;
  Result<void> do_replay(runtime::Graph& graph) override;

  /// Runs an operation, or keeps it for the graph.
  Result<void> submit(std::function<Result<void>()> operation);

  const LiveMemory& live_;
  Recording recording_;
};

}  // namespace tessera::chips::null
