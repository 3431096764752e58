// SPDX-License-Identifier: Apache-2.0
// The program: all commands, all chips, and the compiler.
#include <fmt/format.h>

#include "tessera/base/hash.h"
#include "tessera/base/mapped_file.h"
#include "tessera/cli/program.h"
#include "tessera/compiler/jit.h"

namespace {

using namespace tessera;

/// The compiler, with the hash of this program in its version: the compiler is linked in, so
/// another build may generate other code and must not find this one's images in the disk cache.
class StampedJit final : public kernels::Provider {
 public:
  explicit StampedJit(std::vector<std::unique_ptr<compiler::Target>> targets)
      : jit_(std::move(targets)), version_(jit_.version()) {
    const auto program = MappedFile::open("/proc/self/exe");
    if (program.ok()) version_ += fmt::format(" build {:016x}", hash128(program->bytes()).low);
  }
  std::string_view version() const override { return version_; }
  Result<runtime::KernelImage> compile(const lang::Trace& trace, std::string_view arch) override {
    return jit_.compile(trace, arch);
  }

 private:
  compiler::Jit jit_;
  std::string version_;
};

}  // namespace

int main(int argc, char** argv) {
  auto targets = compiler::all_targets();
  cli::Program program{.name = "tessera", .compiler = nullptr, .architectures = {}};
  for (const auto& target : targets)
    program.architectures.push_back({std::string(target->arch()), target->capabilities()});
  program.compiler = std::make_shared<StampedJit>(std::move(targets));
  return cli::run_program(program, argc, argv);
}
