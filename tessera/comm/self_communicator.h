// SPDX-License-Identifier: Apache-2.0
// The one rank of a job that has no other.
#pragma once

#include <memory>

#include "tessera/comm/communicator.h"

namespace tessera::comm {

std::unique_ptr<Communicator> make_self();

}  // namespace tessera::comm
