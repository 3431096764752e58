// SPDX-License-Identifier: Apache-2.0
// The program: all commands, all chips, and the compiler.
#include "tessera/cli/program.h"
#include "tessera/compiler/target.h"

namespace {

using namespace tessera;

/// Compiles for any target of this build.
class TargetProvider final : public kernels::Provider {
 public:
  std::string_view version() const override { return "interim"; }
  Result<runtime::KernelImage> compile(const lang::Trace& trace, std::string_view arch) override {
    TESSERA_ASSIGN(const auto target, compiler::find_target(arch));
    return target->compile(trace, {});
  }
};

}  // namespace

int main(int argc, char** argv) {
  cli::Program program{.name = "tessera", .compiler = std::make_shared<TargetProvider>(), .architectures = {}};
  for (const auto& target : compiler::all_targets())
    program.architectures.push_back({std::string(target->arch()), target->capabilities()});
  return cli::run_program(program, argc, argv);
}
