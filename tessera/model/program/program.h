// SPDX-License-Identifier: Apache-2.0
// A list of operator calls whose temporaries share one arena, ready to run or to be captured. Built
// by program_builder.h. Running it only fills addresses into ready slots: nothing is allocated.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tessera/model/program/captured_program.h"
#include "tessera/model/program/collective.h"
#include "tessera/model/program/operator_use.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/runtime/branching_stream.h"
#include "tessera/runtime/buffer.h"
#include "tessera/runtime/stream.h"

namespace tessera::model {

/// Consecutive calls under one name, with what they read, write and compute at least.
struct ProgramSection {
  std::string name;
  std::string part;            // of the model: "layer 3"
  size_t first = 0, last = 0;  // calls [first, last)
  ops::Cost cost;
  comm::Traffic traffic;  // of all runs: collectives and bytes this rank sent
};

/// A tensor that a call has just written.
struct WrittenTensor {
  std::string_view part, op, name;  // "layer 3", "q_norm_rope", "q"
  const ops::TensorDesc& desc;
  uint64_t address;
};
/// Told of each tensor that a call writes: before it runs, of those it does not read too, and
/// after.
struct WriteWatch {
  std::function<Result<void>(const WrittenTensor&)> before, after;
};

class Program {
 public:
  /// Bytes bind() needs.
  int64_t arena_bytes() const { return arena_bytes_; }
  size_t call_count() const { return calls_.size(); }
  /// Launches of one run.
  size_t kernel_count() const;
  std::span<const ProgramSection> sections() const { return sections_; }

  /// Temporaries lie in `arena` from now on; graphs captured before stay with the old one. An arena
  /// may serve many programs as long as only one runs at a time. Too small a buffer is an error.
  Result<void> bind(runtime::Buffer& arena);

  /// Queues every call.
  Result<void> run(runtime::Stream& stream) const { return run(stream, 0, calls_.size()); }
  /// Queues calls [first, last), which a program bound before may do part by part.
  Result<void> run(runtime::Stream& stream, size_t first, size_t last) const;
  /// Queues the calls in turn.
  Result<void> run_watched(runtime::Stream& stream, const WriteWatch& watch) const;
  /// The whole program; the arena must outlive it. Where the stream's graphs may branch, a kernel
  /// waits only for those whose memory it shares.
  Result<CapturedProgram> capture(runtime::Stream& stream) const;

 private:
  friend class CapturedProgram;
  friend class ProgramBuilder;
  struct Call {
    std::shared_ptr<const ops::PreparedOp> op;  // or
    std::optional<Collective> collective;       // over tensors from, to and wanted
    size_t use = 0;                             // of uses_, for an operator
    size_t section = 0;
    std::vector<uint64_t> addresses;    // of tensors; of those in the arena once bound
    std::vector<int64_t> arena_offset;  // of tensors; -1: elsewhere or absent
    int64_t workspace_offset = 0;
    uint64_t workspace = 0;
  };
  Result<void> run_call(const Call& call, runtime::Stream& stream) const;
  Result<void> run_in_branches(runtime::Stream& stream, runtime::BranchingStream& branches,
                               size_t first, size_t last) const;

  std::vector<Call> calls_;
  std::vector<OperatorUse> uses_;
  mutable std::vector<ProgramSection> sections_;  // traffic is counted while running
  runtime::Buffer* arena_ = nullptr;
  int64_t arena_bytes_ = 0;
  bool bound_ = false;
};

}  // namespace tessera::model
