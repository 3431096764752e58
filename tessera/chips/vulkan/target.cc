// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/target.h"

#include "tessera/chips/vulkan/capabilities.h"
#include "tessera/compiler/pipeline.h"

namespace tessera::chips::vulkan {
namespace {

class VulkanTarget final : public compiler::Target {
 public:
  std::string_view arch() const override { return kArch; }
  const runtime::Capabilities& capabilities() const override { return capabilities_; }
  std::string machine() const override { return "spirv"; }
  Result<runtime::KernelImage> compile(const lang::Trace& trace,
                                       const compiler::CompileOptions& options) const override {
    // 32 KiB of shared memory, 128 invocations and subgroups of 8 are what every device offered
    // here has. Single elements: wider accesses need a second version of each kernel, which drivers
    // take long to compile.
    const compiler::SimtMachine machine = {
        .machine = {},
        .target = {.threads = 128, .laneBits = 3, .sharedBytes = 32 << 10, .widestBytes = 1},
        .requiredFeatures = {}};
    return compiler::compileForVulkan(trace, machine, options);
  }

 private:
  runtime::Capabilities capabilities_ = vulkan::capabilities();
};

}  // namespace

std::vector<std::unique_ptr<compiler::Target>> targets() {
  std::vector<std::unique_ptr<compiler::Target>> all;
  all.push_back(std::make_unique<VulkanTarget>());
  return all;
}

}  // namespace tessera::chips::vulkan
