// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/program.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/base/check.h"
#include "tessera/model/program/launch_order.h"

namespace tessera::model {

size_t Program::kernel_count() const {
  size_t count = 0;
  for (const Call& call : calls_) count += call.op ? call.op->kernel_count() : 0;
  return count;
}

Result<void> Program::bind(runtime::Buffer& arena) {
  if (arena.size() < static_cast<size_t>(arena_bytes_))
    return invalid_argument(
        fmt::format("the program needs an arena of {} bytes, got {}", arena_bytes_, arena.size()));
  for (Call& call : calls_) {
    for (size_t i = 0; i < call.addresses.size(); ++i)
      if (call.arena_offset[i] >= 0)
        call.addresses[i] = arena.address() + static_cast<uint64_t>(call.arena_offset[i]);
    call.workspace = arena.address() + static_cast<uint64_t>(call.workspace_offset);
  }
  arena_ = &arena;
  bound_ = true;
  return {};
}

Result<void> Program::run(runtime::Stream& stream, size_t first, size_t last) const {
  TESSERA_CHECK(bound_ && first <= last && last <= calls_.size(), "calls [{}, {}) of {}, bound {}",
                first, last, calls_.size(), bound_);
  for (size_t i = first; i < last; ++i) TESSERA_TRY(run_call(calls_[i], stream));
  return {};
}

Result<void> Program::run_watched(runtime::Stream& stream, const WriteWatch& watch) const {
  TESSERA_CHECK(bound_, "a program without memory runs");
  for (const Call& call : calls_) {
    if (call.collective) {
      TESSERA_TRY(run_call(call, stream));
      continue;
    }
    const OperatorUse& use = uses_[call.use];
    const auto& specs = use.op->signature->tensors;
    const auto each = [&](const auto& watched, bool read_too) -> Result<void> {
      for (size_t i = 0; i < specs.size(); ++i) {
        const auto& desc = use.problem.tensors()[i];
        const ops::Access access = specs[i].access;
        if (!desc || access == ops::Access::kRead) continue;
        if (!read_too && (access == ops::Access::kReadWrite ||
                          std::ranges::count(call.addresses, call.addresses[i]) > 1))
          continue;
        TESSERA_TRY(watched({sections_.empty() ? std::string_view() : sections_[call.section].part,
                             use.op->signature->name, specs[i].name, *desc, call.addresses[i]}));
      }
      return {};
    };
    TESSERA_TRY(each(watch.before, false));
    TESSERA_TRY(run_call(call, stream));
    TESSERA_TRY(each(watch.after, true));
  }
  return {};
}

Result<void> Program::run_call(const Call& call, runtime::Stream& stream) const {
  if (!call.collective) return call.op->run(stream, call.addresses, call.workspace);
  const Collective& c = *call.collective;
  const auto region = [&](size_t i, int64_t bytes) {
    return comm::Region{arena_, static_cast<size_t>(call.arena_offset[i]),
                        static_cast<size_t>(bytes)};
  };
  TESSERA_CHECK(c.comm, "a program without communicators runs");
  const comm::Traffic before = c.comm->traffic();
  const comm::Region wanted = c.wanted_bytes > 0 ? region(2, c.wanted_bytes) : comm::Region{};
  TESSERA_TRY(model::run(c, stream, region(0, c.from_bytes), region(1, c.to_bytes), wanted));
  if (call.section < sections_.size()) {
    comm::Traffic& traffic = sections_[call.section].traffic;
    traffic.operations += c.comm->traffic().operations - before.operations;
    traffic.bytes += c.comm->traffic().bytes - before.bytes;
  }
  return {};
}

Result<void> Program::run_in_branches(runtime::Stream& stream, runtime::BranchingStream& branches,
                                      size_t first, size_t last) const {
  LaunchOrder order;
  for (size_t i = first; i < last; ++i) {
    const Call& call = calls_[i];
    if (call.collective) {
      TESSERA_TRY(branches.begin_step(order.add_barrier()));
      TESSERA_TRY(run_call(call, stream));
      continue;
    }
    for (size_t kernel = 0; kernel < call.op->kernel_count(); ++kernel) {
      const auto memory = call.op->memory_of(kernel, call.addresses, call.workspace);
      TESSERA_TRY(branches.begin_step(order.add(memory)));
      TESSERA_TRY(call.op->launch(kernel, stream, call.addresses, call.workspace));
    }
  }
  return {};
}

Result<CapturedProgram> Program::capture(runtime::Stream& stream) const {
  TESSERA_CHECK(bound_, "a program without memory is captured");
  const auto is_apart = [&](const Call& call) {
    return call.collective && !call.collective->can_capture(stream);
  };
  CapturedProgram captured;
  captured.program_ = this;
  for (size_t i = 0; i < calls_.size();) {
    if (is_apart(calls_[i])) {
      captured.parts_.push_back({nullptr, i++});
      continue;
    }
    size_t last = i;
    while (last < calls_.size() && !is_apart(calls_[last])) ++last;
    TESSERA_TRY(stream.begin_capture());
    auto* branching = dynamic_cast<runtime::BranchingStream*>(&stream);
    auto queued = branching ? run_in_branches(stream, *branching, i, last) : run(stream, i, last);
    auto graph = stream.end_capture();  // also after a failure: the stream leaves the capture
    if (!queued.ok()) return std::move(queued).error();
    if (!graph.ok()) return std::move(graph).error();
    captured.parts_.push_back({std::move(*graph), 0});
    i = last;
  }
  return captured;
}

Result<> CapturedProgram::replay(runtime::Stream& stream) const {
  for (const Part& part : parts_) {
    if (part.graph)
      TESSERA_TRY(stream.replay(*part.graph));
    else
      TESSERA_TRY(program_->run_call(program_->calls_[part.collective], stream));
  }
  return {};
}

size_t CapturedProgram::node_count() const {
  size_t nodes = 0;
  for (const Part& part : parts_) nodes += part.graph ? part.graph->node_count() : 1;
  return nodes;
}

size_t CapturedProgram::graph_count() const {
  size_t graphs = 0;
  for (const Part& part : parts_) graphs += part.graph ? 1 : 0;
  return graphs;
}

}  // namespace tessera::model
