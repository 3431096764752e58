// SPDX-License-Identifier: Apache-2.0
// Instruction-set levels the cpu chip compiles for. A level is an architecture of its own
// ("cpu:x86-64-v3"): kernels, packs and tuning files of one level never serve another.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/dtype.h"
#include "tessera/base/result.h"
#include "tessera/runtime/capabilities.h"

namespace tessera::chips::cpu {

/// Stack that one program may take for its tiles; threads have 8 MiB by default.
inline constexpr int64_t kProgramStack = int64_t{4} << 20;

struct IsaLevel {
  std::string_view arch;    // "cpu:x86-64-v4"
  std::string_view option;  // short name in a device spec: "avx512"
  runtime::Capabilities capabilities;

  /// The option, or the arch with or without "cpu:".
  bool matches(std::string_view text) const;
};

/// Levels of the architecture this program is built for, lowest first. The first always runs.
std::span<const IsaLevel> isa_levels();

/// The highest level this machine runs.
const IsaLevel& best_isa_level();

/// The level an option asks for ("" = the best one); an error names the levels this machine has.
Result<const IsaLevel*> find_isa_level(std::string_view option);

/// Features this machine offers at `level`, spelled as LLVM target features: those every machine of
/// the level has, then the optional ones found here ("avx512bf16", "avx512vnni", "amx-bf16", ...).
std::vector<std::string> isa_features(const IsaLevel& level);

/// Those every machine of the level has.
std::vector<std::string> implied_features(const IsaLevel& level);

/// What a plan may ask for where these features are there.
runtime::Capabilities capabilities_of(const IsaLevel& level, std::span<const std::string> features);

/// Types computed or converted in hardware with these features.
std::vector<DType> native_types(std::span<const std::string> features);

/// "AMD EPYC 9554", or the architecture when the processor does not say.
std::string processor_name();

}  // namespace tessera::chips::cpu
