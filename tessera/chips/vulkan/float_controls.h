// SPDX-License-Identifier: Apache-2.0
// How a device treats f32 numbers that drivers may otherwise simplify away. What a device can keep
// differs, so modules are compiled without and get these modes when they are loaded.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera::chips::vulkan {

/// What shaders on this device can be made to keep (VkPhysicalDeviceVulkan12Properties).
struct FloatControls {
  bool subnormals = false;       // shaderDenormPreserveFloat32
  bool signed_zero_nan = false;  // shaderSignedZeroInfNanPreserveFloat32
  bool nearest_even = false;     // shaderRoundingModeRTEFloat32
};

/// The SPIR-V module `words` with the modes declared for its entry point (SPIR-V 1.4 and later,
/// section 3.6 Execution Mode: DenormPreserve, SignedZeroInfNanPreserve, RoundingModeRTE of 32
/// bits). Empty: it is no module with one entry point, or it ends inside an instruction.
std::vector<uint32_t> with_float_controls(std::span<const uint32_t> words,
                                          const FloatControls& controls);

}  // namespace tessera::chips::vulkan
