// SPDX-License-Identifier: Apache-2.0
// Ranks that are threads of one process: tests, and several chips of one machine.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "tessera/comm/communicator.h"

namespace tessera::comm {

/// One communicator for each of `ranks` threads. A rank that waits longer than `patience` for
/// another gets `deadline`; all others then get `unavailable`.
std::vector<std::unique_ptr<Communicator>> make_threads(
    int ranks, std::chrono::milliseconds patience = std::chrono::minutes(1));

}  // namespace tessera::comm
