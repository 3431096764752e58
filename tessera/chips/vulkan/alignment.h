// SPDX-License-Identifier: Apache-2.0
// Which arguments a kernel wants aligned: addresses, and strides in elements. Kernels exist for
// aligned and for any arguments in one SPIR-V module; boolean specialisation constants, each
// numbered by an argument slot, choose, so a driver compiles the one that is launched.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera::chips::vulkan {

/// What aligned arguments are multiples of.
inline constexpr uint64_t kAlignment = 16;

/// The slots of a module's specialisation constants.
std::vector<uint32_t> aligned_slots(std::span<const uint32_t> words);

/// Whether the numbers in `wanted` slots are all aligned.
bool are_aligned(std::span<const uint32_t> wanted, std::span<const uint64_t> slots);

}  // namespace tessera::chips::vulkan
