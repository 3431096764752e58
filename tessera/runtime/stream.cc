// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/stream.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/runtime/device.h"

namespace tessera::runtime {
namespace {

Result<void> check_range(const char* what, const Device& device, const Buffer& buffer,
                         size_t offset, size_t bytes) {
  if (&buffer.device() != &device)
    return invalid_argument(fmt::format("{}: the buffer belongs to {}, the stream to {}", what,
                                        buffer.device().info().arch, device.info().arch));
  if (offset > buffer.size() || bytes > buffer.size() - offset)
    return invalid_argument(fmt::format("{}: {} bytes at offset {} exceed a buffer of {} bytes",
                                        what, bytes, offset, buffer.size()));
  return {};
}

Result<void> check_target(const char* what, const Device& device, const Buffer& buffer,
                          size_t offset, size_t bytes) {
  TESSERA_TRY(check_range(what, device, buffer, offset, bytes));
  if (!buffer.writable())
    return invalid_argument(fmt::format("{}: the target wraps read-only host memory", what));
  return {};
}

Result<void> check_event(const char* what, const Device& device, const Event& event) {
  if (&event.device() == &device) return {};
  return invalid_argument(fmt::format("{}: the event belongs to {}, the stream to {}", what,
                                      event.device().info().arch, device.info().arch));
}

}  // namespace

Result<void> Stream::refuse_in_capture(const char* what) const {
  if (!capturing_) return {};
  return invalid_argument(fmt::format(
      "{} inside a capture: a graph holds only launches, fills and copies between device buffers",
      what));
}

Result<void> Stream::copy_to_device(Buffer& to, size_t offset, std::span<const std::byte> from) {
  TESSERA_TRY(refuse_in_capture("copy_to_device"));
  TESSERA_TRY(check_target("copy_to_device", device_, to, offset, from.size()));
  if (from.empty()) return {};
  return do_copy_to_device(to, offset, from);
}

Result<void> Stream::copy_to_host(std::span<std::byte> to, const Buffer& from, size_t offset) {
  TESSERA_TRY(refuse_in_capture("copy_to_host"));
  TESSERA_TRY(check_range("copy_to_host", device_, from, offset, to.size()));
  if (to.empty()) return {};
  return do_copy_to_host(to, from, offset);
}

Result<void> Stream::copy(Buffer& to, size_t to_offset, const Buffer& from, size_t from_offset,
                          size_t bytes) {
  TESSERA_TRY(check_target("copy target", device_, to, to_offset, bytes));
  TESSERA_TRY(check_range("copy source", device_, from, from_offset, bytes));
  if (bytes == 0) return {};
  const size_t low = std::min(to_offset, from_offset), high = std::max(to_offset, from_offset);
  if (&to == &from && high - low < bytes)
    return invalid_argument(
        fmt::format("copy: ranges of {} bytes at offsets {} and {} of one buffer overlap", bytes,
                    from_offset, to_offset));
  return do_copy(to, to_offset, from, from_offset, bytes);
}

Result<void> Stream::fill(Buffer& buffer, size_t offset, size_t bytes, uint8_t value) {
  TESSERA_TRY(check_target("fill", device_, buffer, offset, bytes));
  if (bytes == 0) return {};
  return do_fill(buffer, offset, bytes, value * 0x01010101u, 1);
}

Result<void> Stream::fill_words(Buffer& buffer, size_t offset, size_t bytes, uint32_t value) {
  TESSERA_TRY(check_target("fill_words", device_, buffer, offset, bytes));
  if ((offset | bytes) % 4 != 0)
    return invalid_argument(
        fmt::format("fill_words: {} bytes at offset {} are not whole 32-bit words", bytes, offset));
  if (bytes == 0) return {};
  return do_fill(buffer, offset, bytes, value, 4);
}

Result<void> Stream::launch_error(const Executable& executable, Grid grid, size_t slots) const {
  if (&executable.device() != &device_)
    return invalid_argument(
        fmt::format("launch: the kernel is loaded on {}, the stream belongs to {}",
                    executable.device().info().arch, device_.info().arch));
  if (slots != executable.slot_count())
    return invalid_argument(
        fmt::format("launch: {} slots passed to a kernel with {}", slots, executable.slot_count()));
  return invalid_argument(fmt::format("launch: a grid of {} x {} x {} has more than 2^62 programs",
                                      grid.x, grid.y, grid.z));
}

Result<void> Stream::record(Event& event) {
  TESSERA_TRY(refuse_in_capture("record"));
  TESSERA_TRY(check_event("record", device_, event));
  return do_record(event);
}

Result<void> Stream::wait(Event& event) {
  TESSERA_TRY(refuse_in_capture("wait"));
  TESSERA_TRY(check_event("wait", device_, event));
  return do_wait(event);
}

Result<void> Stream::synchronize() {
  TESSERA_TRY(refuse_in_capture("synchronize"));
  return do_synchronize();
}

Result<void> Stream::begin_capture() {
  if (capturing_) return invalid_argument("begin_capture: this stream is capturing already");
  TESSERA_TRY(do_begin_capture());
  capturing_ = true;
  return {};
}

Result<std::unique_ptr<Graph>> Stream::end_capture() {
  if (!capturing_) return invalid_argument("end_capture: this stream is not capturing");
  auto graph = do_end_capture();
  capturing_ = false;
  return graph;
}

Result<void> Stream::replay(Graph& graph) {
  TESSERA_TRY(refuse_in_capture("replay"));
  if (&graph.device() != &device_)
    return invalid_argument(
        fmt::format("replay: the graph was captured on {}, the stream belongs to {}",
                    graph.device().info().arch, device_.info().arch));
  return do_replay(graph);
}

}  // namespace tessera::runtime
