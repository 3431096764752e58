// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/executable.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace tessera::chips::cpu {

using runtime::Device;
using runtime::Executable;
using runtime::KernelImage;

KernelImage host_function_image(KernelFunction function, uint32_t slot_count) {
  KernelImage image;
  image.format = kHostFunctionFormat;
  image.entry = "host function";
  image.slot_count = slot_count;
  image.code.resize(sizeof function);
  std::memcpy(image.code.data(), &function, sizeof function);
  return image;
}

Result<std::shared_ptr<Executable>> CpuExecutable::load_elf(Device& device,
                                                            const KernelImage& image) {
  auto module = ElfModule::load(image.code);
  if (!module.ok())
    return std::move(module).context(fmt::format("loading kernel {}", image.entry)).error();
  auto symbol = module->symbol(image.entry);
  if (!symbol.ok())
    return std::move(symbol).context(fmt::format("loading kernel {}", image.entry)).error();
  const auto function = std::bit_cast<KernelFunction>(*symbol);
  return std::shared_ptr<Executable>(
      new CpuExecutable(device, image.slot_count, function, std::move(module).value()));
}

Result<std::shared_ptr<Executable>> CpuExecutable::load_host_function(Device& device,
                                                                      const KernelImage& image) {
  KernelFunction function = nullptr;
  if (image.code.size() == sizeof function)
    std::memcpy(&function, image.code.data(), sizeof function);
  if (function == nullptr) return corrupt("a host function image holds one address");
  return std::shared_ptr<Executable>(
      new CpuExecutable(device, image.slot_count, function, std::nullopt));
}

}  // namespace tessera::chips::cpu
