// SPDX-License-Identifier: Apache-2.0
// A captured list of launches, copies and fills, replayed as one submission (Stream::replay). Slot
// values are frozen at capture; what must change between replays lives in device memory
// (step_state.h). Buffers named by the graph must outlive it; executables are kept alive by it.
#pragma once

#include <cstddef>

namespace tessera::runtime {

class Device;

class Graph {
 public:
  virtual ~Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Device& device() const { return device_; }
  /// Captured operations; skipped ones (empty grids, zero-byte copies) are not counted.
  size_t node_count() const { return node_count_; }

 protected:
  Graph(Device& device, size_t node_count) : device_(device), node_count_(node_count) {}

 private:
  Device& device_;
  size_t node_count_;
};

}  // namespace tessera::runtime
