// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cuda/driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace tessera::chips::cuda {
namespace {

Result<Driver> load() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return make_error(ErrorCode::unavailable, "no CUDA driver: libcuda.so.1 cannot be opened");
  Driver driver;
#define CUDA_SYMBOL(member, name, parameters)                                      \
  driver.member = reinterpret_cast<decltype(driver.member)>(dlsym(library, name)); \
  if (!driver.member)                                                              \
    return make_error(ErrorCode::unavailable,                                      \
                      fmt::format("the CUDA driver is too old: it lacks {}", name));
#include "tessera/chips/cuda/symbols.inc"
  const CUresult status = driver.init(0);
  if (status != kSuccess) {
    const char* text = nullptr;
    driver.error_string(status, &text);
    return make_error(ErrorCode::unavailable, fmt::format("the CUDA driver does not start: {}",
                                                          text ? text : "unknown error"));
  }
  return driver;
}

// CUresult values.
constexpr CUresult kInsufficientDriver = 35, kUnsupportedPtx = 222;
/// After these the context, and with it the process's use of the device, is beyond repair.
bool loses_device(CUresult status) {
  constexpr CUresult kDeviceUnavailable = 46, kEccUncorrectable = 214, kNvlink = 220,
                     kContained = 221;
  constexpr CUresult kIllegalAddress = 700, kTimeout = 702, kFirstTrap = 714, kLaunchFailed = 719;
  return status == kDeviceUnavailable || status == kEccUncorrectable || status == kNvlink ||
         status == kContained || status == kIllegalAddress || status == kTimeout ||
         (status >= kFirstTrap && status <= kLaunchFailed);
}

}  // namespace

Result<const Driver*> Driver::open() {
  static const Result<Driver> driver = load();
  if (!driver.ok()) return driver.error();
  return &driver.value();
}

Result<void> Driver::check(CUresult status, std::string_view what) const {
  if (status == kSuccess) [[likely]]
    return {};
  const char *name = nullptr, *text = nullptr;
  error_name(status, &name);
  error_string(status, &text);
  const std::string message =
      fmt::format("{}: CUDA error {} ({}): {}", what, status, name ? name : "?", text ? text : "?");
  if (status == kOutOfMemory) return out_of_memory(message);
  if (status == kInsufficientDriver || status == kUnsupportedPtx)
    return make_error(ErrorCode::unavailable, message + "; install a newer NVIDIA driver");
  if (loses_device(status))
    return make_error(ErrorCode::device_lost,
                      message + "; this program cannot use the GPU any more, start it again");
  return internal_error(message);
}

}  // namespace tessera::chips::cuda
