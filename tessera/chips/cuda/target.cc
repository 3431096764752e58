// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/target.h"

#include <fmt/format.h>

#include "tessera/chips/cuda/architecture.h"
#include "tessera/compiler/pipeline.h"

namespace tessera::chips::cuda {
namespace {

class CudaTarget final : public compiler::Target {
 public:
  explicit CudaTarget(const Architecture& architecture)
      : architecture_(architecture), arch_(fmt::format("cuda:{}", architecture.name)) {}

  std::string_view arch() const override { return arch_; }
  const runtime::Capabilities& capabilities() const override { return architecture_.capabilities; }
  std::string machine() const override {
    return fmt::format("nvptx64-nvidia-cuda {}", architecture_.name);
  }
  Result<runtime::KernelImage> compile(const lang::Trace& trace,
                                       const compiler::CompileOptions& options) const override {
    const compiler::SimtMachine machine = {
        .machine = {.triple = "nvptx64-nvidia-cuda",
                    .cpu = std::string(architecture_.name),
                    .features = ""},
        .target = {.threads = 256,
                   .laneBits = 5,
                   .sharedBytes = architecture_.shared_bytes,
                   .matrix = matrixUnit(),
                   .arithmetic = {.lanes = 1,
                                  .hasFma = true,
                                  .ptx = 10 * architecture_.major + architecture_.minor}},
        .requiredFeatures = {}};
    return compiler::compileForNvidia(trace, machine, options);
  }

 private:
  compiler::simt::MatrixUnit matrixUnit() const {
    using compiler::simt::MatrixUnit;
    if (architecture_.name == "sm_90a") return MatrixUnit::kWgmma;
    return architecture_.major >= 8 ? MatrixUnit::kMma : MatrixUnit::kNone;
  }

  const Architecture& architecture_;
  std::string arch_;
};

}  // namespace

std::vector<std::unique_ptr<compiler::Target>> targets() {
  std::vector<std::unique_ptr<compiler::Target>> all;
  for (const Architecture& architecture : architectures())
    all.push_back(std::make_unique<CudaTarget>(architecture));
  return all;
}

}  // namespace tessera::chips::cuda
