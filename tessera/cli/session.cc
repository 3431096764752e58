// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/session.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tessera/cli/rank_job.h"
#include "tessera/kernels/finished_pack.h"
#include "tessera/model/deepseek_v4/model_options.h"
#include "tessera/ops/frame/case_data.h"

namespace tessera::cli {
namespace {

Result<Packs> open_packs(const Arguments& arguments, runtime::Device& device) {
  const std::string& arch = device.info().arch;
  Packs packs;
  for (const std::string& file : arguments.list("pack")) {
    TESSERA_ASSIGN(auto pack, kernels::Pack::open(file));
    const auto architectures = pack->architectures();
    if (std::find(architectures.begin(), architectures.end(), arch) == architectures.end())
      return not_found(fmt::format(
          "pack {} holds kernels for {}, none for {}; make one with `tessera pack --chip {}`", file,
          fmt::join(architectures, ", "), arch, arch));
    TESSERA_ASSIGN(auto finished,
                   kernels::open_or_renew_finished(*pack, device, arguments.integer("threads", 0)));
    if (finished) packs.push_back(std::move(finished));
    packs.push_back(std::move(pack));
  }
  return packs;
}

/// A chip's device may be of an architecture that the packs have nothing for, and of another one
/// that they have.
Result<std::unique_ptr<runtime::Device>> open_for_packs(const Arguments& arguments,
                                                        const runtime::ChipOptions& options) {
  const std::string spec = arguments.text("chip", kDefaultChip);
  TESSERA_ASSIGN(auto device, as_usage(runtime::open_device(spec, options)));
  if (spec != device->info().chip) return device;
  for (const std::string& file : arguments.list("pack")) {
    TESSERA_ASSIGN(const auto pack, kernels::Pack::open(file));
    const auto architectures = pack->architectures();
    if (std::ranges::find(architectures, device->info().arch) != architectures.end()) continue;
    for (const std::string& architecture : architectures) {
      if (!architecture.starts_with(spec + ":")) continue;
      auto other = runtime::open_device(architecture, options);
      if (other.ok()) return std::move(*other);
    }
  }
  return device;
}

}  // namespace

Result<ops::TuningFile> chosen_tuning(const Arguments& arguments, const Packs& packs) {
  ops::TuningFile all;
  for (const auto& pack : packs) {
    if (pack->tuning().empty()) continue;
    TESSERA_ASSIGN(const auto carried,
                   ops::TuningFile::parse(pack->tuning(), "pack " + pack->path().string()));
    all.merge(carried);
  }
  for (const std::string& file : arguments.list("tuning")) {
    TESSERA_ASSIGN(const auto given, ops::TuningFile::open(file));
    all.merge(given);
  }
  return all;
}

Result<Session> open_session(const Arguments& arguments, const Program& program,
                             runtime::ChipOptions options) {
  if (options.threads == 0) options.threads = arguments.integer("threads", threads_of_rank());
  Session session;
  TESSERA_ASSIGN(session.device, open_for_packs(arguments, options));
  const std::string& arch = session.device->info().arch;
  kernels::LibraryOptions library;
  TESSERA_ASSIGN(library.packs, open_packs(arguments, *session.device));
  TESSERA_ASSIGN(session.tuning, chosen_tuning(arguments, library.packs));
  session.device->use_tuning(session.tuning.tuning_for(arch));
  library.provider = program.compiler;
  if (const auto folder = kernels::DiskCache::default_folder(); !folder.empty())
    library.cache = std::make_shared<kernels::DiskCache>(folder);
  session.library = std::make_unique<kernels::KernelLibrary>(*session.device, std::move(library));
  return session;
}

Result<std::vector<const ops::Operator*>> chosen_operators(const Arguments& arguments) {
  const std::string pattern = arguments.text("op", "*");
  std::vector<const ops::Operator*> found = ops::match_operators(pattern);
  if (!found.empty()) return found;
  if (pattern.find_first_of("*?[") == std::string::npos) {
    auto missing = as_usage(ops::find_operator(pattern));
    if (!missing.ok()) return std::move(missing).error();
  }
  return invalid_argument(
      fmt::format("no operator matches \"{}\"; `tessera ops list` shows all", pattern));
}

Result<std::optional<DType>> chosen_dtype(const Arguments& arguments) {
  const std::string text = arguments.text("dtype");
  if (text.empty()) return std::optional<DType>();
  if (const auto dtype = parse_dtype(text)) return std::optional<DType>(dtype);
  std::vector<std::string_view> names;
  for (int i = 0; i < kDTypeCount; ++i) names.push_back(name(static_cast<DType>(i)));
  return invalid_argument(
      fmt::format("no dtype \"{}\"; there are: {}", text, fmt::join(names, ", ")));
}

Result<model::deepseek_v4::Precision> chosen_precision(const Arguments& arguments,
                                                       const model::deepseek_v4::Config& config) {
  using namespace model::deepseek_v4;
  const std::string text = arguments.text("precision", name(default_precision(config)));
  if (const auto precision = parse_precision(text)) return *precision;
  return invalid_argument(
      fmt::format("no precision \"{}\"; there are: {}", text, fmt::join(kPrecisionNames, ", ")));
}

std::span<const runtime::KnownFailure> known_failures(std::string_view spec) {
  const auto chip = runtime::find_chip(spec.substr(0, spec.find(':')));
  return chip.ok() ? (*chip)->known_failures : std::span<const runtime::KnownFailure>();
}

std::vector<ops::Case> bench_cases(const ops::Operator& op, std::string_view filter) {
  std::vector<ops::Case> cases = op.cases();
  std::erase_if(cases, [&](const ops::Case& c) {
    return !c.bench || ops::case_text(op, c).find(filter) == std::string::npos;
  });
  return cases;
}

}  // namespace tessera::cli
