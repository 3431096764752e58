// SPDX-License-Identifier: Apache-2.0
// What kernels are compiled for; shared by the device and the target part.
#pragma once

#include <span>
#include <string_view>

#include "tessera/chips/vulkan/cooperative_matrix.h"
#include "tessera/runtime/capabilities.h"

namespace tessera::chips::vulkan {

struct Architecture {
  std::string_view name;
  bool matrix;           // kernels multiply by kMatrixShape, in subgroups of kMatrixLanes
  int64_t threads;       // of a workgroup at most
  int64_t shared_bytes;  // it may use
  int64_t access_bytes;  // of the widest access to memory
  runtime::Capabilities capabilities;

  /// As part of a device's spec: what follows "vulkan:".
  std::string_view option() const { return name.substr(name.find(':') + 1); }
};

/// What the architecture with matrices rests on.
inline constexpr CooperativeShape kMatrixShape = {
    .m = 16, .n = 16, .k = 16, .operands = "bf16", .sums = "f32"};
inline constexpr int kMatrixLanes = 32;

/// The plainest first: Vulkan 1.2 with buffer device addresses; and Vulkan 1.3 with cooperative
/// matrices.
std::span<const Architecture> architectures();

}  // namespace tessera::chips::vulkan
