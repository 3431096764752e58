// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/jit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "llvm/Config/llvm-config.h"

namespace tessera::compiler {

Jit::Jit(std::vector<std::unique_ptr<Target>> targets, CompileOptions options)
    : targets_(std::move(targets)), options_(std::move(options)) {}

/// The number is raised with every change of generated code.
std::string_view Jit::version() const { return "tessera-2 llvm-" LLVM_VERSION_STRING; }

Result<runtime::KernelImage> Jit::compile(const lang::Trace& trace, std::string_view arch) {
  std::vector<std::string_view> known;
  for (const auto& target : targets_) {
    if (const auto features = features_of(arch, target->arch())) {
      if (features->empty()) return target->compile(trace, options_);
      TESSERA_ASSIGN(const auto specialised, target->with_features(*features));
      return specialised->compile(trace, options_);
    }
    known.push_back(target->arch());
  }
  return not_found(fmt::format("kernel {}: no target compiles for \"{}\"; there are: {}",
                               trace.name, arch, fmt::join(known, ", ")));
}

}  // namespace tessera::compiler
