// SPDX-License-Identifier: Apache-2.0
// A step of a program that all ranks take together. It lies between kernels and works on the arena.
#pragma once

#include <cstdint>

#include "tessera/base/dtype.h"
#include "tessera/comm/communicator.h"

namespace tessera::model {

struct Collective {
  enum class Kind : uint8_t {
    all_reduce,
    reduce_scatter,
    all_gather,
    dispatch,
    combine,
    broadcast
  };

  Kind kind;
  DType dtype = DType::f32;
  comm::Reduction how = comm::Reduction::sum;
  int root = 0;                        // of a broadcast
  comm::Communicator* comm = nullptr;  // absent while a program is planned only
  int64_t from_bytes = 0, to_bytes = 0;
  int64_t wanted_bytes = 0;  // of dispatch and combine

  /// Whether its communicator puts it into a graph that `stream` captures.
  bool can_capture(const runtime::Stream& stream) const {
    return kind != Kind::dispatch && kind != Kind::combine && comm->can_capture(stream);
  }
};

/// `from` and `to` may be one region; `wanted` as the communicator's functions take it.
Result<> run(const Collective& collective, runtime::Stream& stream, const comm::Region& from,
             const comm::Region& to, const comm::Region& wanted);

}  // namespace tessera::model
