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
  return make_error(ErrorCode::device_lost, fmt::format("{}: CUDA error {} ({}): {}", what, status,
                                                        name ? name : "?", text ? text : "?"));
}

}  // namespace tessera::chips::cuda
