// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/pack_builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <mutex>

#include "tessera/base/parallel.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/ops/frame/crash_note.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::cli {
namespace {

/// Of an architecture, or of the device here that `chip` names.
Result<runtime::DeviceInfo> described(const std::string& chip, const Program& program) {
  const std::string arch = chip.substr(0, chip.find('+'));
  if (std::ranges::find(program.architectures, arch) != program.architectures.end()) {
    TESSERA_ASSIGN(const auto capabilities, program.compiler->capabilities(chip));
    return runtime::DeviceInfo{.arch = arch, .capabilities = capabilities};
  }
  const auto device = runtime::open_device(chip);
  if (!device.ok())
    return invalid_argument(
        fmt::format("\"{}\" is neither an architecture ({}) nor a device here ({})", chip,
                    fmt::join(program.architectures, ", "), device.error().message));
  return (*device)->info();
}

}  // namespace

Result<PackTarget> PackTarget::find(const std::string& chip, const Program& program,
                                    const ops::TuningFile& tuning) {
  TESSERA_ASSIGN(const runtime::DeviceInfo info, described(chip, program));
  PackTarget target = {.arch = info.arch,
                       .compiled = info.arch + chip.substr(std::min(chip.find('+'), chip.size())),
                       .tuning = tuning.tuning_for(info.arch),
                       .capabilities = info.capabilities};
  target.capabilities.tuning = target.tuning.get();
  return target;
}

PackBuilder::PackBuilder(kernels::Provider& compiler, const PackTarget& target,
                         kernels::PackWriter& pack)
    : compiler_(compiler), target_(target), pack_(pack) {
  if (const auto folder = kernels::DiskCache::default_folder(); !folder.empty())
    cache_.emplace(folder);
}

void PackBuilder::add(const ops::Operator& op) {
  for (const ops::Case& c : op.cases())
    for (const bool deterministic : {false, true}) add(op, c, {.deterministic = deterministic});
}

void PackBuilder::add(const ops::Operator& op, const ops::Case& c,
                      const ops::PlanOptions& options) {
  const auto problem = ops::problem_of(op, c);
  if (!problem.ok()) return failures_.push_back({op.signature->name, problem.error().to_string()});
  auto traces = ops::trace_plan(ops::make_plan(op, *problem, target_.capabilities, options));
  if (!traces.ok()) return failures_.push_back({op.signature->name, traces.error().to_string()});
  for (lang::Trace& trace : *traces) add(std::move(trace));
}

Result<runtime::KernelImage> PackBuilder::fetch(const lang::Trace& trace) {
  TESSERA_ASSIGN(const std::string identity, compiler_.identity(target_.compiled));
  if (!cache_ || identity.empty()) return compiler_.compile(trace, target_.compiled);
  const Hash128 key = kernels::DiskCache::key(trace, identity);
  if (auto image = cache_->find(key)) return std::move(*image);
  auto image = compiler_.compile(trace, target_.compiled);
  if (image.ok()) cache_->store(key, *image);
  return image;
}

void PackBuilder::compile(int threads) {
  std::vector<const lang::Trace*> work;
  for (const auto& [hash, trace] : traces_) work.push_back(&trace);
  ProgressBar bar;
  std::mutex mutex;
  size_t done = 0;
  for_each_parallel(work.size(), threads, [&](size_t i) {
    const ops::CrashNote note("compiling", work[i]->name);
    auto image = fetch(*work[i]);
    const std::lock_guard lock(mutex);
    if (image.ok())
      pack_.add(target_.arch, work[i]->hash(), work[i]->name, *image);
    else
      failures_.push_back({work[i]->name, image.error().to_string()});
    bar.update(target_.arch, ++done, work.size());
  });
  bar.clear();
}

size_t PackBuilder::report() const {
  for (const Failure& failure : failures_)
    fmt::print(stderr, "{} for {}: {}\n", failure.kernel, target_.arch, failure.message);
  return failures_.size();
}

}  // namespace tessera::cli
