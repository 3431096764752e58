// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/host_stream.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "tessera/runtime/device.h"

namespace tessera::runtime {

void HostEvent::stamp() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  nanoseconds_.store(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(),
                     std::memory_order_release);
}

Result<double> HostEvent::elapsed_ms_since(Event& start) {
  if (&start.device() != &device())
    return invalid_argument("elapsed time between events of two devices");
  const int64_t first = static_cast<HostEvent&>(start).nanoseconds_.load(std::memory_order_acquire);
  const int64_t last = nanoseconds_.load(std::memory_order_acquire);
  if (first == 0 || last == 0)
    return invalid_argument("elapsed time of an event that was never recorded");
  return static_cast<double>(last - first) * 1e-6;
}

class HostStream::RecordedGraph final : public Graph {
 public:
  RecordedGraph(Device& device, Recording recording)
      : Graph(device, recording.nodes.size()), recording_(std::move(recording)) {}

  const Recording& recording() const { return recording_; }

 private:
  Recording recording_;
};

void HostStream::copy_bytes(std::byte* to, const std::byte* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

void HostStream::fill_bytes(std::byte* to, size_t bytes, uint32_t pattern, uint32_t pattern_bytes) {
  if (pattern_bytes == 1) {
    std::memset(to, static_cast<int>(pattern & 0xff), bytes);
    return;
  }
  for (size_t i = 0; i < bytes; i += sizeof pattern) std::memcpy(to + i, &pattern, sizeof pattern);
}

Result<void> HostStream::do_copy_to_device(Buffer& to, size_t offset,
                                           std::span<const std::byte> from) {
  copy_bytes(to.host_data() + offset, from.data(), from.size());
  return {};
}

Result<void> HostStream::do_copy_to_host(std::span<std::byte> to, const Buffer& from,
                                         size_t offset) {
  copy_bytes(to.data(), from.host_data() + offset, to.size());
  return {};
}

Result<void> HostStream::do_copy(Buffer& to, size_t to_offset, const Buffer& from,
                                 size_t from_offset, size_t bytes) {
  std::byte* target = to.host_data() + to_offset;
  const std::byte* source = from.host_data() + from_offset;
  if (capturing())
    recording_.nodes.push_back(
        {.kind = Node::Kind::kCopy, .to = target, .from = source, .bytes = bytes});
  else
    copy_bytes(target, source, bytes);
  return {};
}

Result<void> HostStream::do_fill(Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                                 uint32_t pattern_bytes) {
  std::byte* target = buffer.host_data() + offset;
  if (capturing())
    recording_.nodes.push_back({.kind = Node::Kind::kFill,
                                .pattern_bytes = static_cast<uint8_t>(pattern_bytes),
                                .pattern = pattern,
                                .to = target,
                                .bytes = bytes});
  else
    fill_bytes(target, bytes, pattern, pattern_bytes);
  return {};
}

Result<void> HostStream::do_launch(Executable& executable, Grid grid,
                                   std::span<const uint64_t> slots) {
  if (!capturing()) return run_kernel(executable, grid, slots.data());
  recording_.nodes.push_back({.kind = Node::Kind::kLaunch,
                              .grid = grid,
                              .executable = &executable,
                              .first_slot = recording_.slots.size()});
  recording_.slots.insert(recording_.slots.end(), slots.begin(), slots.end());
  recording_.executables.push_back(executable.shared_from_this());
  return {};
}

Result<void> HostStream::do_record(Event& event) {
  static_cast<HostEvent&>(event).stamp();
  return {};
}

Result<void> HostStream::do_begin_capture() {
  recording_ = {};
  return {};
}

Result<std::unique_ptr<Graph>> HostStream::do_end_capture() {
  auto& executables = recording_.executables;
  std::sort(executables.begin(), executables.end());
  executables.erase(std::unique(executables.begin(), executables.end()), executables.end());
  return std::unique_ptr<Graph>(
      std::make_unique<RecordedGraph>(device(), std::exchange(recording_, {})));
}

Result<void> HostStream::do_replay(Graph& graph) {
  const Recording& recording = static_cast<RecordedGraph&>(graph).recording();
  for (const Node& node : recording.nodes) {
    switch (node.kind) {
      case Node::Kind::kLaunch:
        TESSERA_TRY(
            run_kernel(*node.executable, node.grid, recording.slots.data() + node.first_slot));
        break;
      case Node::Kind::kCopy: copy_bytes(node.to, node.from, node.bytes); break;
      case Node::Kind::kFill:
        fill_bytes(node.to, node.bytes, node.pattern, node.pattern_bytes);
        break;
    }
  }
  return {};
}

}  // namespace tessera::runtime
