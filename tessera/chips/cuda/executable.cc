// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cuda/executable.h"

#include <fmt/format.h>

#include <string>

#include "tessera/chips/cuda/cubin.h"

namespace tessera::chips::cuda {
namespace {

// CUjit_option and CUfunction_attribute values of the driver ABI.
constexpr int kErrorLogBuffer = 5, kErrorLogBytes = 6;
constexpr int kMaxDynamicSharedBytes = 8;
constexpr uint32_t kSharedBytesWithoutAsking = 48 << 10;

}  // namespace

Result<std::shared_ptr<runtime::Executable>> CudaExecutable::load(
    CudaDevice& device, const runtime::KernelImage& image) {
  const Driver& driver = device.driver();
  if (image.slot_count + kHiddenSlots > kMaxSlots)
    return unsupported(fmt::format("kernel {} has {} arguments, the cuda chip takes {}",
                                   image.entry, image.slot_count, kMaxSlots - kHiddenSlots));
  TESSERA_TRY(device.enter());

  std::string text(reinterpret_cast<const char*>(image.code.data()), image.code.size());
  char log[4096] = "";
  int options[] = {kErrorLogBuffer, kErrorLogBytes};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  CUmodule module = nullptr;
  const CUresult status = driver.module_load(&module, text.c_str(), 2, options, values);
  if (status != kSuccess)
    return refused(driver, status, fmt::format("loading kernel {}", image.entry), log);
  CUfunction function = nullptr;
  if (auto found = driver.check(driver.module_function(&function, module, image.entry.c_str()),
                                fmt::format("finding kernel {}", image.entry));
      !found.ok()) {
    driver.module_unload(module);
    return found.error();
  }
  auto maps = tensor_maps_of(driver, module);
  if (!maps.ok()) {
    driver.module_unload(module);
    return std::move(maps).context(fmt::format("kernel {}", image.entry)).error();
  }
  std::shared_ptr<CudaExecutable> executable(
      new CudaExecutable(device, image, module, function, std::move(maps).value()));
  if (image.shared_bytes > kSharedBytesWithoutAsking)
    TESSERA_TRY(driver.check(
        driver.function_set(function, kMaxDynamicSharedBytes, static_cast<int>(image.shared_bytes)),
        fmt::format("asking {} bytes of shared memory for kernel {}", image.shared_bytes,
                    image.entry)));
  return std::shared_ptr<runtime::Executable>(std::move(executable));
}

CudaExecutable::~CudaExecutable() {
  auto& device = static_cast<CudaDevice&>(this->device());
  if (device.enter().ok()) device.driver().module_unload(module_);
}

}  // namespace tessera::chips::cuda
