// SPDX-License-Identifier: Apache-2.0
// Where kernels that neither the pack nor the disk cache holds come from. The compiler's jit is
// one; a program without LLVM has none.
#pragma once

#include <string>
#include <string_view>

#include "tessera/base/result.h"
#include "tessera/lang/trace.h"
#include "tessera/runtime/capabilities.h"
#include "tessera/runtime/kernel_image.h"

namespace tessera::kernels {

class Provider {
 public:
  virtual ~Provider() = default;
  /// Identifies the compiler, for people and for packs.
  virtual std::string_view version() const = 0;
  /// Everything besides the trace that decides an image for `arch`: the compiler's version, the
  /// machine and its features. Equal texts stand for equal images. Empty: images are not to be
  /// kept. `not_found` when there is no target for `arch`.
  virtual Result<std::string> identity(std::string_view arch) const = 0;
  /// What plans for `arch` may ask for; equal to those of a device of it. `not_found` likewise.
  virtual Result<runtime::Capabilities> capabilities(std::string_view arch) const = 0;
  /// Thread-safe. `not_found` when it has no target for `arch` (DeviceInfo::arch).
  virtual Result<runtime::KernelImage> compile(const lang::Trace& trace, std::string_view arch) = 0;
};

}  // namespace tessera::kernels
