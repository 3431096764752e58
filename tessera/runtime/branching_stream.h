// SPDX-License-Identifier: Apache-2.0
// A stream whose graphs need not be chains.
#pragma once

#include <cstdint>
#include <span>

#include "tessera/base/result.h"

namespace tessera::runtime {

/// Implemented by streams of chips that run several kernels at once; found by dynamic_cast.
class BranchingStream {
 public:
  /// In a capture: what is queued from here on is one more step of the graph. Steps are numbered
  /// from 0; this one waits for the earlier steps `after` alone, not for whatever was queued last.
  /// Operations of one step run in order.
  virtual Result<void> begin_step(std::span<const uint32_t> after) = 0;

 protected:
  ~BranchingStream() = default;
};

}  // namespace tessera::runtime
