// SPDX-License-Identifier: Apache-2.0
// The program: all commands, all chips, and the compiler.
#include "tessera/cli/program.h"
#include "tessera/compiler/jit.h"

int main(int argc, char** argv) {
  auto targets = tessera::compiler::all_targets();
  tessera::cli::Program program{.name = "tessera", .compiler = nullptr, .architectures = {}};
  for (const auto& target : targets) program.architectures.emplace_back(target->arch());
  program.compiler = std::make_shared<tessera::compiler::Jit>(std::move(targets));
  return tessera::cli::run_program(program, argc, argv);
}
