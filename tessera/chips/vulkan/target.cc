// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/target.h"

#include <bit>

#include "tessera/chips/vulkan/architecture.h"
#include "tessera/compiler/pipeline.h"

namespace tessera::chips::vulkan {
namespace {

class VulkanTarget final : public compiler::Target {
 public:
  explicit VulkanTarget(const Architecture& architecture) : architecture_(architecture) {}
  std::string_view arch() const override { return architecture_.name; }
  const runtime::Capabilities& capabilities() const override { return architecture_.capabilities; }
  std::string machine() const override { return "spirv"; }
  Result<runtime::KernelImage> compile(const lang::Trace& trace,
                                       const compiler::CompileOptions& options) const override {
    using compiler::simt::MatrixUnit;
    compiler::SimtMachine machine = {.machine = {},
                                     // Subgroups have eight lanes at least.
                                     .target = {.threads = architecture_.threads,
                                                .laneBits = 3,
                                                .sharedBytes = architecture_.shared_bytes,
                                                .widestBytes = architecture_.access_bytes,
                                                .choosesByStrides = !architecture_.matrix,
                                                .multipliesInLanes = !architecture_.matrix},
                                     .requiredFeatures = {}};
    if (architecture_.matrix) {
      machine.target.laneBits = std::countr_zero(unsigned{kMatrixLanes});
      machine.target.matrix = MatrixUnit::kCooperative;
      machine.requiredFeatures = {kMatrixShape.feature()};
    }
    return compiler::compileForVulkan(trace, machine, options);
  }

 private:
  const Architecture& architecture_;
};

}  // namespace

std::vector<std::unique_ptr<compiler::Target>> targets() {
  std::vector<std::unique_ptr<compiler::Target>> all;
  for (const Architecture& architecture : architectures())
    all.push_back(std::make_unique<VulkanTarget>(architecture));
  return all;
}

}  // namespace tessera::chips::vulkan
