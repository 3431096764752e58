// SPDX-License-Identifier: Apache-2.0
// What the compiler needs to know of each instruction-set level.
#include "tessera/compiler/target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tessera/chips/cpu/isa_level.h"
#include "tessera/compiler/pipeline.h"

namespace tessera::chips::cpu {
namespace {

using compiler::CompileOptions;
using compiler::CpuMachine;
using runtime::Capabilities;
using runtime::KernelImage;

/// Optional features the lowering makes use of; others would only tie images to machines.
constexpr std::string_view kUsed[] = {"avx512bf16", "avx512vnni", "avx512vbmi",
                                      "avx512fp16", "amx-tile",   "amx-bf16"};

/// `found`: the level's features and optional ones.
CpuMachine describe(const IsaLevel& level, const std::vector<std::string>& found) {
  const auto has = [&](std::string_view feature) {
    return std::ranges::find(found, feature) != found.end();
  };
  CpuMachine result;
  result.format = "elf.x86-64";
  result.machine.triple = "x86_64-unknown-linux-gnu";
  result.machine.cpu = std::string(level.arch.substr(level.arch.find(':') + 1));
  compiler::CpuTarget& target = result.target;
  target.isX86 = true;
  target.hasAvx512 = has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl");
  target.hasAvx2 = has("avx2");
  target.hasFma = has("fma");
  target.hasBf16Dot = has("avx512bf16");
  target.hasVnni = has("avx512vnni");
  target.hasVbmi = has("avx512vbmi");
  // Processors with tile registers leave products of bf16 to them.
  target.slowBf16Dot = has("amx-bf16");
  target.hasFp16 = has("avx512fp16");
  target.hasAmxBf16 = has("amx-tile") && has("amx-bf16");
  target.lanes = target.hasAvx512 ? 16 : target.hasAvx2 ? 8 : 4;
  target.registers = target.hasAvx512 ? 32 : 16;
  target.maxScratch = kProgramStack;
  result.machine.vectorBits = 32 * target.lanes;
  for (std::string_view feature : kUsed) {
    if (!has(feature)) continue;
    result.machine.features +=
        (result.machine.features.empty() ? "+" : ",+") + std::string(feature);
    result.requiredFeatures.emplace_back(feature);
  }
  return result;
}

class CpuLevelTarget final : public compiler::Target {
 public:
  explicit CpuLevelTarget(const IsaLevel& level) : CpuLevelTarget(level, isa_features(level)) {}
  CpuLevelTarget(const IsaLevel& level, const std::vector<std::string>& features)
      : level_(level),
        machine_(describe(level, features)),
        capabilities_(capabilities_of(level, features)) {}

  std::string_view arch() const override { return level_.arch; }
  const Capabilities& capabilities() const override { return capabilities_; }
  std::string machine() const override {
    return fmt::format("{} {} {}", machine_.machine.triple, machine_.machine.cpu,
                       machine_.machine.features);
  }
  Result<KernelImage> compile(const lang::Trace& trace,
                              const CompileOptions& options) const override {
    return compiler::compileForCpu(trace, machine_, options);
  }
  Result<std::unique_ptr<Target>> with_features(
      const std::vector<std::string>& features) const override {
    std::vector<std::string> all = implied_features(level_);
    const bool any = std::ranges::find(all, "avx512f") != all.end();
    for (const std::string& feature : features) {
      if (!any || std::ranges::find(kUsed, feature) == std::end(kUsed))
        return invalid_argument(
            fmt::format("{} has no optional feature \"{}\"; it has: {}", arch(), feature,
                        any ? fmt::format("{}", fmt::join(kUsed, ", ")) : "none"));
      all.push_back(feature);
    }
    return std::make_unique<CpuLevelTarget>(level_, all);
  }

 private:
  const IsaLevel& level_;
  const CpuMachine machine_;
  const Capabilities capabilities_;
};

}  // namespace

std::vector<std::unique_ptr<compiler::Target>> targets() {
  std::vector<std::unique_ptr<compiler::Target>> all;
  for (const IsaLevel& level : isa_levels()) all.push_back(std::make_unique<CpuLevelTarget>(level));
  return all;
}

}  // namespace tessera::chips::cpu
