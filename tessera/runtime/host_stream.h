// SPDX-License-Identifier: Apache-2.0
// Stream, event and graph of chips whose memory is the host's and whose kernels the calling thread
// runs: every operation is done when its call returns. So a stream is always idle between calls, an
// event is a time stamp, and a graph a list of operations. A chip says how a kernel runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "tessera/runtime/event.h"
#include "tessera/runtime/graph.h"
#include "tessera/runtime/stream.h"

namespace tessera::runtime {

class HostEvent final : public Event {
 public:
  explicit HostEvent(Device& device) : Event(device) {}

  void stamp();

  Result<bool> query() override { return true; }
  Result<void> synchronize() override { return {}; }
  Result<double> elapsed_ms_since(Event& start) override;

 private:
  std::atomic<int64_t> nanoseconds_{0};  // monotonic clock; 0 = never recorded
};

class HostStream : public Stream {
 protected:
  explicit HostStream(Device& device) : Stream(device) {}

  /// Runs all programs of a grid that is not empty.
  virtual Result<void> run_kernel(Executable& executable, Grid grid, const uint64_t* slots) = 0;
  /// By one thread unless a chip knows better.
  virtual void copy_bytes(std::byte* to, const std::byte* from, size_t bytes);
  virtual void fill_bytes(std::byte* to, size_t bytes, uint32_t pattern, uint32_t pattern_bytes);

 private:
  /// One captured operation. Kernels refer to their slots by index: the vector they lie in still
  /// grows.
  struct Node {
    enum class Kind : uint8_t { kLaunch, kCopy, kFill };

    Kind kind;
    uint8_t pattern_bytes = 0;
    uint32_t pattern = 0;
    Grid grid = {};
    Executable* executable = nullptr;
    size_t first_slot = 0;
    std::byte* to = nullptr;
    const std::byte* from = nullptr;
    size_t bytes = 0;
  };
  struct Recording {
    std::vector<Node> nodes;
    std::vector<uint64_t> slots;
    std::vector<std::shared_ptr<Executable>> executables;  // kept alive for the nodes
  };
  class RecordedGraph;

  Result<void> do_copy_to_device(Buffer& to, size_t offset,
                                 std::span<const std::byte> from) override;
  Result<void> do_copy_to_host(std::span<std::byte> to, const Buffer& from, size_t offset) override;
  Result<void> do_copy(Buffer& to, size_t to_offset, const Buffer& from, size_t from_offset,
                       size_t bytes) override;
  Result<void> do_fill(Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                       uint32_t pattern_bytes) override;
  Result<void> do_launch(Executable& executable, Grid grid,
                         std::span<const uint64_t> slots) override;
  Result<void> do_record(Event& event) override;
  Result<void> do_wait(Event&) override { return {}; }
  Result<void> do_synchronize() override { return {}; }
  Result<void> do_begin_capture() override;
  Result<std::unique_ptr<Graph>> do_end_capture() override;
  Result<void> do_replay(Graph& graph) override;

  Recording recording_;
};

}  // namespace tessera::runtime
