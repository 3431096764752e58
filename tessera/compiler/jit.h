// SPDX-License-Identifier: Apache-2.0
// The compiler as the kernel library's source of images.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tessera/compiler/target.h"
#include "tessera/kernels/provider.h"

namespace tessera::compiler {

class Jit final : public kernels::Provider {
 public:
  /// Compiles for these targets; see all_targets().
  explicit Jit(std::vector<std::unique_ptr<Target>> targets);

  std::string_view version() const override;
  Result<std::string> identity(std::string_view arch) const override;
  Result<runtime::Capabilities> capabilities(std::string_view arch) const override;
  Result<runtime::KernelImage> compile(const lang::Trace& trace, std::string_view arch) override;

 private:
  /// Calls `use` with the target that serves `arch`, features included.
  template <class Use>
  auto with_target(std::string_view arch, Use use) const
      -> decltype(use(std::declval<const Target&>()));

  std::vector<std::unique_ptr<Target>> targets_;
  CodeMemo memo_;
  CompileOptions options_;
};

}  // namespace tessera::compiler
