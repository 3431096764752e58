// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/jit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tessera/compiler/version.h"

namespace tessera::compiler {

Jit::Jit(std::vector<std::unique_ptr<Target>> targets) : targets_(std::move(targets)) {
  options_.memo = &memo_;
}

template <class Use>
auto Jit::with_target(std::string_view arch, Use use) const
    -> decltype(use(std::declval<const Target&>())) {
  std::vector<std::string_view> known;
  for (const auto& target : targets_) {
    if (const auto features = features_of(arch, target->arch())) {
      if (features->empty()) return use(*target);
      TESSERA_ASSIGN(const auto specialised, target->with_features(*features));
      return use(*specialised);
    }
    known.push_back(target->arch());
  }
  return not_found(
      fmt::format("no target compiles for \"{}\"; there are: {}", arch, fmt::join(known, ", ")));
}

std::string_view Jit::version() const { return compiler_version(); }

Result<std::string> Jit::identity(std::string_view arch) const {
  return with_target(arch, [&](const Target& target) -> Result<std::string> {
    std::string machine = target.machine();
    if (machine.empty()) return machine;
    return fmt::format("{}; {} {}", compiler_version(), target.arch(), machine);
  });
}

Result<runtime::Capabilities> Jit::capabilities(std::string_view arch) const {
  return with_target(arch, [](const Target& target) -> Result<runtime::Capabilities> {
    return target.capabilities();
  });
}

Result<runtime::KernelImage> Jit::compile(const lang::Trace& trace, std::string_view arch) {
  return with_target(arch, [&](const Target& target) { return target.compile(trace, options_); });
}

}  // namespace tessera::compiler
