// SPDX-License-Identifier: Apache-2.0
// The cpu chip's stream, event and graph. The calling thread runs every operation at once, in
// order, with the device's thread pool; so a stream is always idle between calls, and an event is a
// time stamp.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "tessera/base/thread_pool.h"
#include "tessera/chips/cpu/executable.h"
#include "tessera/runtime/stream.h"

namespace tessera::chips::cpu {

class CpuEvent final : public runtime::Event {
 public:
  explicit CpuEvent(runtime::Device& device) : Event(device) {}

  void stamp();

  Result<bool> query() override { return true; }
  Result<void> synchronize() override { return {}; }
  Result<double> elapsed_ms_since(runtime::Event& start) override;

 private:
  std::atomic<int64_t> nanoseconds_{0};  // monotonic clock; 0 = never recorded
};

/// One captured operation. Kernels refer to their slots by index: the vector they lie in still
/// grows.
struct GraphNode {
  enum class Kind : uint8_t { kLaunch, kCopy, kFill };

  Kind kind;
  uint8_t pattern_bytes = 0;
  uint32_t pattern = 0;
  runtime::Grid grid = {};
  KernelFunction function = nullptr;
  size_t first_slot = 0;
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  size_t bytes = 0;
};

struct Recording {
  std::vector<GraphNode> nodes;
  std::vector<uint64_t> slots;
  std::vector<std::shared_ptr<runtime::Executable>> executables;  // kept alive for the nodes
};

class CpuGraph final : public runtime::Graph {
 public:
  CpuGraph(runtime::Device& device, Recording recording)
      : Graph(device, recording.nodes.size()), recording_(std::move(recording)) {}

  const Recording& recording() const { return recording_; }

 private:
  Recording recording_;
};

class CpuStream final : public runtime::Stream {
 public:
  CpuStream(runtime::Device& device, ThreadPool& pool) : Stream(device), pool_(pool) {}

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

  ThreadPool& pool_;
  Recording recording_;
};

}  // namespace tessera::chips::cpu
