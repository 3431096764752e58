// SPDX-License-Identifier: Apache-2.0
// Generations of NVIDIA GPUs the chip distinguishes; shared by the device and the target part.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "tessera/base/dtype.h"
#include "tessera/runtime/capabilities.h"

namespace tessera::chips::cuda {

struct Architecture {
  std::string_view name;  // LLVM's name of the processor: "sm_90a"
  int major, minor;       // compute capability
  int64_t shared_bytes;   // a workgroup may use
  std::vector<DType> native_types;
  runtime::Capabilities capabilities;
};

/// Oldest first.
std::span<const Architecture> architectures();
/// The newest architecture whose code runs on this compute capability.
const Architecture& architecture_for(int major, int minor);

}  // namespace tessera::chips::cuda
