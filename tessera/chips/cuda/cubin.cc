// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cuda/cubin.h"

#include <fmt/format.h>

#include <string>

namespace tessera::chips::cuda {
namespace {

// CUjit_option and CUjitInputType values of the driver ABI.
constexpr int kErrorLogBuffer = 5, kErrorLogBytes = 6, kTargetFromContext = 8;
constexpr int kInputPtx = 1;

}  // namespace

Error refused(const Driver& driver, CUresult status, std::string_view what, std::string_view log) {
  Error error = driver.check(status, what).error();
  if (error.code == ErrorCode::internal) error.code = ErrorCode::corrupt;
  if (!log.empty()) error.message += fmt::format("\n{}", log);
  return error;
}

Result<runtime::KernelImage> make_cubin(const CudaDevice& device, const runtime::KernelImage& ptx) {
  const Driver& driver = device.driver();
  TESSERA_TRY(device.enter());
  char log[4096] = "";
  int options[] = {kErrorLogBuffer, kErrorLogBytes, kTargetFromContext};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log), nullptr};
  CUlinkState state = nullptr;
  TESSERA_TRY(driver.check(driver.link_create(3, options, values, &state), "cuLinkCreate"));
  // PTX is a text that ends in a zero byte.
  std::string text(reinterpret_cast<const char*>(ptx.code.data()), ptx.code.size());
  void* code = nullptr;
  size_t bytes = 0;
  CUresult status = driver.link_add(state, kInputPtx, text.data(), text.size() + 1,
                                    ptx.entry.c_str(), 0, nullptr, nullptr);
  if (status == kSuccess) status = driver.link_complete(state, &code, &bytes);
  if (status != kSuccess) {
    driver.link_destroy(state);
    return refused(driver, status, fmt::format("compiling kernel {}", ptx.entry), log);
  }
  runtime::KernelImage cubin = ptx;
  cubin.format = kCubin;
  const auto* first = static_cast<const std::byte*>(code);
  cubin.code.assign(first, first + bytes);  // the linker's own memory
  driver.link_destroy(state);
  return cubin;
}

}  // namespace tessera::chips::cuda
