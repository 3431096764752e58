// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/target.h"

#include "tessera/chips/null/device.h"

namespace tessera::chips::null {
namespace {

class NullTarget final : public compiler::Target {
 public:
  std::string_view arch() const override { return kArch; }
  const runtime::Capabilities& capabilities() const override { return capabilities_; }
  /// Images name the author's lines, which no key covers, and cost nothing to make.
  std::string machine() const override { return ""; }

  Result<runtime::KernelImage> compile(const lang::Trace& trace,
                                       const compiler::CompileOptions&) const override {
    runtime::KernelImage image;
    image.format = kTraceFormat;
    image.entry = trace.name;
    image.code =
        trace.serialize(lang::Trace::Lines::kKeep);  // errors of a launch name the author's line
    image.slot_count = trace.slot_count;
    return image;
  }

 private:
  runtime::Capabilities capabilities_;  // the defaults, as in the device
};

}  // namespace

std::vector<std::unique_ptr<compiler::Target>> targets() {
  std::vector<std::unique_ptr<compiler::Target>> all;
  all.push_back(std::make_unique<NullTarget>());
  return all;
}

}  // namespace tessera::chips::null
