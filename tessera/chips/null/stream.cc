// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/stream.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "tessera/chips/null/interpreter.h"

namespace tessera::chips::null {

using runtime::Buffer;
using runtime::Event;
using runtime::Executable;
using runtime::Graph;
using runtime::Grid;

void NullEvent::stamp() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  nanoseconds_ = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

Result<double> NullEvent::elapsed_ms_since(Event& start) {
  if (&start.device() != &device())
    return invalid_argument("elapsed time between events of two devices");
  const int64_t first = static_cast<NullEvent&>(start).nanoseconds_, last = nanoseconds_;
  if (first == 0 || last == 0)
    return invalid_argument("elapsed time of an event that was never recorded");
  return static_cast<double>(last - first) * 1e-6;
}

Result<void> NullStream::submit(std::function<Result<void>()> operation) {
  if (!capturing()) return operation();
  recording_.push_back(std::move(operation));
  return {};
}

Result<void> NullStream::do_copy_to_device(Buffer& to, size_t offset,
                                           std::span<const std::byte> from) {
  std::memcpy(to.host_data() + offset, from.data(), from.size());
  return {};
}

Result<void> NullStream::do_copy_to_host(std::span<std::byte> to, const Buffer& from,
                                         size_t offset) {
  std::memcpy(to.data(), from.host_data() + offset, to.size());
  return {};
}

Result<void> NullStream::do_copy(Buffer& to, size_t to_offset, const Buffer& from,
                                 size_t from_offset, size_t bytes) {
  return submit(
      [target = to.host_data() + to_offset, source = from.host_data() + from_offset, bytes] {
        std::memcpy(target, source, bytes);
        return Result<void>();
      });
}

Result<void> NullStream::do_fill(Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                                 uint32_t) {
  // A one-byte pattern comes repeated four times, so the byte at i is the same either way.
  return submit([target = buffer.host_data() + offset, bytes, pattern] {
    for (size_t i = 0; i < bytes; ++i) target[i] = static_cast<std::byte>(pattern >> i % 4 * 8);
    return Result<void>();
  });
}

Result<void> NullStream::do_launch(Executable& executable, Grid grid,
                                   std::span<const uint64_t> slots) {
  auto kernel = std::static_pointer_cast<NullExecutable>(executable.shared_from_this());
  return submit(
      [this_live = &live_, kernel, grid, slots = std::vector(slots.begin(), slots.end())] {
        return interpret(kernel->trace(), {grid.x, grid.y, grid.z}, slots,
                         [&](uint64_t address) { return this_live->find(address); });
      });
}

Result<void> NullStream::do_record(Event& event) {
  static_cast<NullEvent&>(event).stamp();
  return {};
}

Result<void> NullStream::do_begin_capture() {
  recording_.clear();
  return {};
}

Result<std::unique_ptr<Graph>> NullStream::do_end_capture() {
  return std::unique_ptr<Graph>(
      std::make_unique<NullGraph>(device(), std::exchange(recording_, {})));
}

Result<void> NullStream::do_replay(Graph& graph) {
  for (const auto& operation : static_cast<NullGraph&>(graph).recording()) TESSERA_TRY(operation());
  return {};
}

}  // namespace tessera::chips::null
