// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/stream.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "tessera/runtime/device.h"

namespace tessera::chips::cpu {
namespace {

using runtime::Buffer;
using runtime::Device;
using runtime::Event;
using runtime::Executable;
using runtime::Graph;
using runtime::Grid;

/// Chunks a worker is given of a launch: enough to even out programs of unequal cost, few enough
/// that taking one costs nothing.
constexpr int64_t kChunksPerWorker = 8;

/// Below this a single thread copies or fills faster than two that must meet.
constexpr size_t kParallelBytes = size_t{1} << 20;
constexpr int64_t kCopyGrain = int64_t{1} << 18;

struct Launch {
  KernelFunction function;
  const uint64_t* slots;
  uint32_t grid[3];
};

void run_kernel(ThreadPool& pool, KernelFunction function, Grid grid, const uint64_t* slots) {
  Launch launch = {function, slots, {grid.x, grid.y, grid.z}};
  const int64_t programs = grid.programs();
  if (programs == 1 || pool.size() == 1) {
    function(slots, launch.grid, 0, programs);
    return;
  }
  const int64_t grain = std::max<int64_t>(1, programs / (pool.size() * kChunksPerWorker));
  pool.run(
      0, programs, grain,
      [](void* context, int, int64_t begin, int64_t end) {
        const Launch& launch = *static_cast<const Launch*>(context);
        launch.function(launch.slots, launch.grid, begin, end);
      },
      &launch);
}

void copy_bytes(ThreadPool& pool, std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes < kParallelBytes) {
    std::memcpy(to, from, bytes);
    return;
  }
  pool.run(0, static_cast<int64_t>(bytes), kCopyGrain, [&](int, int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

void fill_range(std::byte* to, size_t bytes, uint32_t pattern, uint32_t pattern_bytes) {
  if (pattern_bytes == 1) {
    std::memset(to, static_cast<int>(pattern & 0xff), bytes);
    return;
  }
  for (size_t i = 0; i < bytes; i += sizeof pattern) std::memcpy(to + i, &pattern, sizeof pattern);
}

void fill_bytes(ThreadPool& pool, std::byte* to, size_t bytes, uint32_t pattern,
                uint32_t pattern_bytes) {
  if (bytes < kParallelBytes) return fill_range(to, bytes, pattern, pattern_bytes);
  pool.run(0, static_cast<int64_t>(bytes), kCopyGrain, [&](int, int64_t begin, int64_t end) {
    fill_range(to + begin, static_cast<size_t>(end - begin), pattern, pattern_bytes);
  });
}

const std::byte* data(const Buffer& buffer, size_t offset) { return buffer.host_data() + offset; }
std::byte* data(Buffer& buffer, size_t offset) { return buffer.host_data() + offset; }

}  // namespace

void CpuEvent::stamp() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  nanoseconds_.store(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(),
                     std::memory_order_release);
}

Result<double> CpuEvent::elapsed_ms_since(Event& start) {
  if (&start.device() != &device())
    return invalid_argument("elapsed time between events of two devices");
  const int64_t first = static_cast<CpuEvent&>(start).nanoseconds_.load(std::memory_order_acquire);
  const int64_t last = nanoseconds_.load(std::memory_order_acquire);
  if (first == 0 || last == 0)
    return invalid_argument("elapsed time of an event that was never recorded");
  return static_cast<double>(last - first) * 1e-6;
}

Result<void> CpuStream::do_copy_to_device(Buffer& to, size_t offset,
                                          std::span<const std::byte> from) {
  copy_bytes(pool_, data(to, offset), from.data(), from.size());
  return {};
}

Result<void> CpuStream::do_copy_to_host(std::span<std::byte> to, const Buffer& from,
                                        size_t offset) {
  copy_bytes(pool_, to.data(), data(from, offset), to.size());
  return {};
}

Result<void> CpuStream::do_copy(Buffer& to, size_t to_offset, const Buffer& from,
                                size_t from_offset, size_t bytes) {
  if (capturing())
    recording_.nodes.push_back({.kind = GraphNode::Kind::kCopy,
                                .to = data(to, to_offset),
                                .from = data(from, from_offset),
                                .bytes = bytes});
  else
    copy_bytes(pool_, data(to, to_offset), data(from, from_offset), bytes);
  return {};
}

Result<void> CpuStream::do_fill(Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                                uint32_t pattern_bytes) {
  if (capturing())
    recording_.nodes.push_back({.kind = GraphNode::Kind::kFill,
                                .pattern_bytes = static_cast<uint8_t>(pattern_bytes),
                                .pattern = pattern,
                                .to = data(buffer, offset),
                                .bytes = bytes});
  else
    fill_bytes(pool_, data(buffer, offset), bytes, pattern, pattern_bytes);
  return {};
}

Result<void> CpuStream::do_launch(Executable& executable, Grid grid,
                                  std::span<const uint64_t> slots) {
  const KernelFunction function = static_cast<CpuExecutable&>(executable).function();
  if (!capturing()) {
    run_kernel(pool_, function, grid, slots.data());
    return {};
  }
  recording_.nodes.push_back({.kind = GraphNode::Kind::kLaunch,
                              .grid = grid,
                              .function = function,
                              .first_slot = recording_.slots.size()});
  recording_.slots.insert(recording_.slots.end(), slots.begin(), slots.end());
  recording_.executables.push_back(executable.shared_from_this());
  return {};
}

Result<void> CpuStream::do_record(Event& event) {
  static_cast<CpuEvent&>(event).stamp();
  return {};
}

Result<void> CpuStream::do_begin_capture() {
  recording_ = {};
  return {};
}

Result<std::unique_ptr<Graph>> CpuStream::do_end_capture() {
  auto& executables = recording_.executables;
  std::sort(executables.begin(), executables.end());
  executables.erase(std::unique(executables.begin(), executables.end()), executables.end());
  return std::unique_ptr<Graph>(
      std::make_unique<CpuGraph>(device(), std::exchange(recording_, {})));
}

Result<void> CpuStream::do_replay(Graph& graph) {
  const Recording& recording = static_cast<CpuGraph&>(graph).recording();
  for (const GraphNode& node : recording.nodes) {
    switch (node.kind) {
      case GraphNode::Kind::kLaunch:
        run_kernel(pool_, node.function, node.grid, recording.slots.data() + node.first_slot);
        break;
      case GraphNode::Kind::kCopy: copy_bytes(pool_, node.to, node.from, node.bytes); break;
      case GraphNode::Kind::kFill:
        fill_bytes(pool_, node.to, node.bytes, node.pattern, node.pattern_bytes);
        break;
    }
  }
  return {};
}

}  // namespace tessera::chips::cpu
