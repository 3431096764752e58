// SPDX-License-Identifier: Apache-2.0
// NVIDIA GPUs that talk to each other directly. Host messages go through the communicator the ranks
// met in. NCCL chooses the order of sums.
#pragma once

#include <memory>

#include "tessera/comm/communicator.h"
#include "tessera/comm/nccl_library.h"

namespace tessera::comm {

/// Every rank of `meeting`, which must outlive the result, calls it with the stream's device
/// current (chips make it so when a stream is made). Rank 0's id reaches the others through
/// `meeting`.
Result<std::unique_ptr<Communicator>> connect_nccl(const NcclLibrary& library,
                                                   Communicator& meeting);

}  // namespace tessera::comm
