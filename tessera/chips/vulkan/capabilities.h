// SPDX-License-Identifier: Apache-2.0
// What kernels are compiled for; shared by the device and the target part.
#pragma once

#include <string_view>

#include "tessera/runtime/capabilities.h"

namespace tessera::chips::vulkan {

/// One architecture for all devices: Vulkan 1.2 with buffer device addresses, plain arithmetic.
inline constexpr std::string_view kArch = "vulkan:1.2";

inline runtime::Capabilities capabilities() {
  runtime::Capabilities c;
  c.vector_tile = 256;
  c.program_grain = 512;
  c.gemv_rows = 4;
  c.dot_tile[0] = {1, 4, 64};
  c.dot_tile[1] = {8, 16, 32};
  c.dot_tile[2] = {32, 32, 32};
  c.dot_tile[3] = {32, 32, 32};
  c.attention_keys = 8;
  c.sort_tile = 1024;
  return c;
}

}  // namespace tessera::chips::vulkan
