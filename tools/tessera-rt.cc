// SPDX-License-Identifier: Apache-2.0
// The same commands without the compiler: kernels come from packs. Links neither LLVM nor MLIR.
#include "tessera/cli/program.h"

int main(int argc, char** argv) {
  const tessera::cli::Program program{
      .name = "tessera-rt", .compiler = nullptr, .architectures = {}};
  return tessera::cli::run_program(program, argc, argv);
}
