// SPDX-License-Identifier: Apache-2.0
// What ranks must have in common before they compute together.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/comm/communicator.h"

namespace tessera::comm {

/// A text of every rank, in their order.
Result<std::vector<std::string>> gather_texts(Communicator& comm, std::string_view own);

struct Fact {
  std::string name, value;  // "precision", "native"
};

/// Every rank calls it with the same names and gets the same answer. Errors: `own` itself where
/// given; "rank 3: .." where another rank has one; invalid_argument "rank 3 has precision bf16,
/// rank 0 has native" where a value differs.
Result<> agree(Communicator& comm, std::span<const Fact> facts, const Error* own = nullptr);

}  // namespace tessera::comm
