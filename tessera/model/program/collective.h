// SPDX-License-Identifier: Apache-2.0
// A step of a program that all ranks take together. It lies between kernels and works on the arena.
#pragma once

#include <cstdint>

#include "tessera/base/dtype.h"
#include "tessera/comm/communicator.h"

namespace tessera::model {

struct Collective {
  enum class Kind : uint8_t { all_reduce, reduce_scatter, broadcast };

  Kind kind;
  DType dtype;
  comm::Reduction how = comm::Reduction::sum;
  int root = 0;                          // of a broadcast
  comm::Communicator* comm = nullptr;    // absent while a program is planned only
  int64_t from_bytes = 0, to_bytes = 0;  // equal but for reduce_scatter
};

/// `from` and `to` may be one region.
Result<> run(const Collective& collective, runtime::Stream& stream, const comm::Region& from,
             const comm::Region& to);

}  // namespace tessera::model
