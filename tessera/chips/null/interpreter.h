// SPDX-License-Identifier: Apache-2.0
// Runs a trace: one program after the other, one node after the other.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/chips/null/memory.h"
#include "tessera/chips/null/value.h"
#include "tessera/lang/trace.h"

namespace tessera::chips::null {

/// All programs of a grid. The trace is checked (Trace::parse does). An access that leaves its
/// buffer and a broken promise end the launch with an error that names kernel, program, line and
/// view.
Result<void> interpret(const lang::Trace& trace, std::array<uint32_t, 3> grid,
                       std::span<const uint64_t> slots, const FindMemory& find);

/// One program at a time, with storage for every value of the trace.
class Interpreter {
 public:
  Interpreter(const lang::Trace& trace, Memory& memory, std::array<uint32_t, 3> grid);

  Result<void> run_program(std::array<uint32_t, 3> id);

 private:
  /// What went wrong, or empty; the node is kept in failed_.
  std::string run_block(const lang::Block& block);
  std::string run_node(const lang::Node& node);
  std::string run_for(const lang::Node& node);
  std::string run_if(const lang::Node& node);
  void run_source(const lang::Node& node);
  void copy_values(std::span<const lang::ValueId> from, std::span<const lang::ValueId> to);
  Value& value(lang::ValueId id) { return values_[static_cast<size_t>(id)]; }

  const lang::Trace& trace_;
  Memory& memory_;
  const std::array<uint32_t, 3> grid_;
  std::array<uint32_t, 3> program_{};
  std::vector<Value> values_;  // by ValueId
  const lang::Node* failed_ = nullptr;
};

}  // namespace tessera::chips::null
