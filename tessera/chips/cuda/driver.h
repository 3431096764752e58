// SPDX-License-Identifier: Apache-2.0
// The CUDA driver, opened at run time: no toolkit is needed to build. Types and constants are those
// of the driver's documented C ABI.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tessera/base/result.h"

namespace tessera::chips::cuda {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = uint64_t;
using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUlinkState = struct CUlinkState_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphNode = struct CUgraphNode_st*;
using CUgraphExec = struct CUgraphExec_st*;

inline constexpr CUresult kSuccess = 0, kOutOfMemory = 2, kNotReady = 600;

struct Driver {
#define CUDA_SYMBOL(member, name, parameters) CUresult(*member) parameters = nullptr;
#include "tessera/chips/cuda/symbols.inc"

  /// Opens libcuda.so.1 once a process. `unavailable` when it is absent, too old, or has no device.
  static Result<const Driver*> open();
  /// Turns a status into an error naming the call and the driver's own words: out_of_memory,
  /// device_lost where no later call can succeed, unavailable for an old driver, else internal.
  Result<void> check(CUresult status, std::string_view what) const;
};

}  // namespace tessera::chips::cuda
