// SPDX-License-Identifier: Apache-2.0
// A kernel for the cpu chip. Its function runs the programs with linear ids [begin, end) of a grid,
// where linear = x + grid[0] * (y + grid[1] * z); the stream gives each thread a range.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "tessera/base/result.h"
#include "tessera/chips/cpu/elf_module.h"
#include "tessera/runtime/device.h"

namespace tessera::chips::cpu {

using KernelFunction = void (*)(const uint64_t* slots, const uint32_t* grid, int64_t begin,
                                int64_t end);

/// Tests and benchmarks pass a function of their own program as an image of this format (`code`
/// holds its address). Accepted only with ChipOptions::allow_host_functions: an image from a file
/// must never name one.
inline constexpr std::string_view kHostFunctionFormat = "host-function";
runtime::KernelImage host_function_image(KernelFunction function, uint32_t slot_count);

class CpuExecutable final : public runtime::Executable {
 public:
  static Result<std::shared_ptr<runtime::Executable>> load_elf(runtime::Device& device,
                                                               const runtime::KernelImage& image);
  static Result<std::shared_ptr<runtime::Executable>> load_host_function(
      runtime::Device& device, const runtime::KernelImage& image);

  KernelFunction function() const { return function_; }

 private:
  CpuExecutable(runtime::Device& device, uint32_t slot_count, KernelFunction function,
                std::optional<ElfModule> module)
      : Executable(device, slot_count), function_(function), module_(std::move(module)) {}

  KernelFunction function_;
  std::optional<ElfModule> module_;  // holds the code of function_
};

}  // namespace tessera::chips::cpu
