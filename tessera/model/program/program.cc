// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/program.h"

#include <fmt/format.h>

#include "tessera/base/check.h"

namespace tessera::model {

size_t Program::kernel_count() const {
  size_t count = 0;
  for (const Call& call : calls_) count += call.op->kernel_count();
  return count;
}

Result<void> Program::bind(const runtime::Buffer& arena) {
  if (arena.size() < static_cast<size_t>(arena_bytes_))
    return invalid_argument(
        fmt::format("the program needs an arena of {} bytes, got {}", arena_bytes_, arena.size()));
  for (Call& call : calls_) {
    for (size_t i = 0; i < call.addresses.size(); ++i)
      if (call.arena_offset[i] >= 0)
        call.addresses[i] = arena.address() + static_cast<uint64_t>(call.arena_offset[i]);
    call.workspace = arena.address() + static_cast<uint64_t>(call.workspace_offset);
  }
  bound_ = true;
  return {};
}

Result<void> Program::run(runtime::Stream& stream, size_t first, size_t last) const {
  TESSERA_CHECK(bound_ && first <= last && last <= calls_.size(), "calls [{}, {}) of {}, bound {}",
                first, last, calls_.size(), bound_);
  for (size_t i = first; i < last; ++i)
    TESSERA_TRY(calls_[i].op->run(stream, calls_[i].addresses, calls_[i].workspace));
  return {};
}

Result<std::unique_ptr<runtime::Graph>> Program::capture(runtime::Stream& stream) const {
  TESSERA_TRY(stream.begin_capture());
  auto queued = run(stream);
  auto graph = stream.end_capture();  // also after a failure: the stream leaves the capture
  if (!queued.ok()) return std::move(queued).error();
  return graph;
}

}  // namespace tessera::model
