// SPDX-License-Identifier: Apache-2.0
// A program as graphs, and between them the collectives that its communicators cannot put into one.
// On one rank, and where all collectives can be captured, that is a single graph.
#pragma once

#include <memory>
#include <vector>

#include "tessera/runtime/graph.h"
#include "tessera/runtime/stream.h"

namespace tessera::model {

class Program;

class CapturedProgram {
 public:
  /// The program must not have moved since, and its arena must be the one it was captured with.
  Result<> replay(runtime::Stream& stream) const;
  size_t node_count() const;
  size_t graph_count() const;

 private:
  friend class Program;
  struct Part {
    std::unique_ptr<runtime::Graph> graph;  // or
    size_t collective = 0;                  // the call's number
  };
  const Program* program_ = nullptr;
  std::vector<Part> parts_;
};

}  // namespace tessera::model
