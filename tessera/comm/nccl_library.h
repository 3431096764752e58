// SPDX-License-Identifier: Apache-2.0
// NCCL, opened at run time: types and constants are those of its documented C ABI.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tessera/base/result.h"

namespace tessera::comm {

struct NcclId {
  char bytes[128];
};
using NcclComm = struct ncclComm*;

struct NcclLibrary {
  static constexpr int kSuccess = 0, kInProgress = 7;
  static constexpr int kInt8 = 0, kInt32 = 2, kFloat32 = 7, kBfloat16 = 9;  // ncclDataType_t
  static constexpr int kSum = 0, kMax = 2;                                  // ncclRedOp_t

#define NCCL_SYMBOL(member, name, parameters) int(*member) parameters = nullptr;
#include "tessera/comm/nccl_symbols.inc"
  const char* (*error_text)(int status) = nullptr;

  /// Opens `path`, or libnccl.so.2 where the system has it. `unavailable` when it is absent or too
  /// old. The library stays open.
  static Result<NcclLibrary> open(const std::string& path = {});
  Result<> check(std::string_view what, int status) const;
};

}  // namespace tessera::comm
