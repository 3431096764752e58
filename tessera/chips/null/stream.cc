// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/stream.h"

#include "tessera/chips/null/interpreter.h"

namespace tessera::chips::null {

Result<void> NullStream::run_kernel(runtime::Executable& executable, runtime::Grid grid,
                                    const uint64_t* slots) {
  const lang::Trace& trace = static_cast<NullExecutable&>(executable).trace();
  return interpret(trace, {grid.x, grid.y, grid.z}, std::span(slots, trace.slot_count),
                   [this](uint64_t address) { return live_.find(address); });
}

}  // namespace tessera::chips::null
