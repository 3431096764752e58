// SPDX-License-Identifier: Apache-2.0
// The device, its kernel library and the operators a command works on, opened from common options.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tessera/cli/command.h"
#include "tessera/cli/program.h"
#include "tessera/kernels/kernel_library.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/precision.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/frame/tuning_file.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::cli {

inline constexpr char kDefaultChip[] = "cpu";

// Options with the same meaning everywhere.
inline constexpr OptionSpec kChipOption{
    "-c,--chip", OptionSpec::Kind::kText, "CHIP",
    "Device, as chip[:option][:index]: cpu, cpu:avx2, null (default cpu)"};
inline constexpr OptionSpec kOpOption{"--op", OptionSpec::Kind::kText, "GLOB",
                                      "Only operators whose name or family/name matches"};
inline constexpr OptionSpec kPackOption{"--pack", OptionSpec::Kind::kList, "FILE",
                                        "Take kernels from this pack first; may be repeated"};
inline constexpr OptionSpec kTuningOption{"--tuning", OptionSpec::Kind::kList, "FILE",
                                          "Hints of `tessera tune`; may be repeated"};
inline constexpr OptionSpec kPrecisionOption{"--precision", OptionSpec::Kind::kText, "P",
                                             "native (default), fp8, bf16 or fp32"};
inline constexpr OptionSpec kThreadsOption{"-j,--threads", OptionSpec::Kind::kNumber, "N",
                                           "Host threads (default all cores)"};

struct Session {
  std::unique_ptr<runtime::Device> device;
  std::unique_ptr<kernels::KernelLibrary> library;
  ops::TuningFile tuning;  // of all architectures
};

using Packs = std::vector<std::shared_ptr<const kernels::Pack>>;

/// The files of --tuning, and before them what `packs` carry.
Result<ops::TuningFile> chosen_tuning(const Arguments& arguments, const Packs& packs = {});

/// Opens the device of --chip with its tuning, and a library with --pack, the disk cache and the
/// program's compiler.
/// --threads counts unless `options` has a number of threads.
Result<Session> open_session(const Arguments& arguments, const Program& program,
                             runtime::ChipOptions options = {});

/// The operators --op names; all without it. Wrong use when none matches.
Result<std::vector<const ops::Operator*>> chosen_operators(const Arguments& arguments);

/// The type --dtype names.
Result<std::optional<DType>> chosen_dtype(const Arguments& arguments);

/// The precision --precision names; without it the one that suits the weights.
Result<model::deepseek_v4::Precision> chosen_precision(const Arguments& arguments,
                                                       const model::deepseek_v4::Config& config);

/// Known failures of the chip in `spec` ("cpu:avx2" -> those of cpu).
std::span<const runtime::KnownFailure> known_failures(std::string_view spec);

/// Cases of `op` to time whose text contains `filter`.
std::vector<ops::Case> bench_cases(const ops::Operator& op, std::string_view filter);

}  // namespace tessera::cli
