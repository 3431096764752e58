// SPDX-License-Identifier: Apache-2.0
// Compiled kernel as plain data: what a target part produces, a pack stores and a device part
// loads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::runtime {

struct KernelImage {
  std::string format;  // "elf.x86-64", "ptx", "cubin", "spirv", "trace"
  std::string entry;   // symbol of the kernel inside `code`
  std::vector<std::byte> code;
  uint32_t slot_count = 0;                     // 64-bit arguments
  uint32_t workgroup_size = 1;                 // threads a program, 1 on CPUs
  uint32_t shared_bytes = 0;                   // shared memory a program
  std::vector<std::string> required_features;  // each must be in DeviceInfo::features

  friend bool operator==(const KernelImage&, const KernelImage&) = default;
};

/// Little-endian, versioned, ends in a checksum. The bytes depend on the image only.
std::vector<std::byte> serialise(const KernelImage& image);

/// Inverse of serialise(). Truncated, altered or hostile bytes give an error, never a crash; memory
/// taken is bounded by the size of the input.
Result<KernelImage> parse_kernel_image(std::span<const std::byte> bytes);

}  // namespace tessera::runtime
