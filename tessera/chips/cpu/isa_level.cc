// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/isa_level.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tessera::chips::cpu {

using runtime::Capabilities;

namespace {

#if defined(__x86_64__)

/// Long steps along K: each ends in sums across the lanes of all accumulators. With few rows, half
/// of the registers hold a product's accumulators. Products in f32: without the dot of bf16 there
/// is no other way, and Intel's has half of the rate of FMA (measured, docs/performance/model.md);
/// tile registers have four times that of FMA.
constexpr Capabilities capabilities(int64_t vector_tile, int64_t few_columns) {
  return {.vector_tile = vector_tile,
          .dot_tile = {{1, 1, 1024}, {8, few_columns, 1024}, {64, 64, 1024}, {64, 64, 1024}},
          .wide_products = true};
}

constexpr std::array kLevels = {
    IsaLevel{"cpu:x86-64", "sse2", capabilities(16, 1)},
    IsaLevel{"cpu:x86-64-v3", "avx2", capabilities(32, 1)},
    IsaLevel{"cpu:x86-64-v4", "avx512", capabilities(64, 8)},
};

bool runs_here(size_t level) {
  if (level == 2) return __builtin_cpu_supports("x86-64-v4");
  if (level == 1) return __builtin_cpu_supports("x86-64-v3");
  return true;
}

struct Feature {
  std::string_view name;
  size_t level;  // lowest level that may use it
  bool implied;  // every machine of that level has it
  bool present;
};

/// Tile registers need a permission of the kernel, once for the whole process.
bool amx_allowed() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool allowed = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return allowed;
}

std::vector<Feature> features() {
#define IMPLIED(level, feature) {feature, level, true, true}
#define OPTIONAL(level, feature) \
  {feature, level, false, static_cast<bool>(__builtin_cpu_supports(feature))}
  std::vector<Feature> all = {
      IMPLIED(0, "sse2"),        IMPLIED(1, "avx"),           IMPLIED(1, "avx2"),
      IMPLIED(1, "fma"),         IMPLIED(1, "f16c"),          IMPLIED(1, "bmi"),
      IMPLIED(1, "bmi2"),        IMPLIED(2, "avx512f"),       IMPLIED(2, "avx512bw"),
      IMPLIED(2, "avx512cd"),    IMPLIED(2, "avx512dq"),      IMPLIED(2, "avx512vl"),
      OPTIONAL(1, "gfni"),       OPTIONAL(1, "avxvnni"),      OPTIONAL(2, "avx512bf16"),
      OPTIONAL(2, "avx512vnni"), OPTIONAL(2, "avx512vbmi"),   OPTIONAL(2, "avx512vbmi2"),
      OPTIONAL(2, "avx512ifma"), OPTIONAL(2, "avx512bitalg"), OPTIONAL(2, "avx512vpopcntdq"),
      OPTIONAL(2, "avx512fp16"),
  };
  if (__builtin_cpu_supports("amx-tile") && amx_allowed()) {
    all.push_back(OPTIONAL(2, "amx-tile"));
    all.push_back(OPTIONAL(2, "amx-bf16"));
    all.push_back(OPTIONAL(2, "amx-int8"));
  }
#undef IMPLIED
#undef OPTIONAL
  return all;
}

#else

#if defined(__aarch64__)
constexpr std::array kLevels = {IsaLevel{"cpu:aarch64", "aarch64", {.vector_tile = 16}}};
#elif defined(__riscv)
constexpr std::array kLevels = {IsaLevel{"cpu:riscv64", "riscv64", {.vector_tile = 16}}};
#elif defined(__loongarch64)
constexpr std::array kLevels = {IsaLevel{"cpu:loongarch64", "loongarch64", {.vector_tile = 16}}};
#elif defined(__powerpc64__)
constexpr std::array kLevels = {IsaLevel{"cpu:ppc64le", "ppc64le", {.vector_tile = 16}}};
#else
#error "this architecture has no entry in the table of levels"
#endif

bool runs_here(size_t) { return true; }

struct Feature {
  std::string_view name;
  size_t level;
  bool implied, present;
};

std::vector<Feature> features() { return {}; }

#endif

size_t index_of(const IsaLevel& level) { return static_cast<size_t>(&level - kLevels.data()); }

}  // namespace

bool IsaLevel::matches(std::string_view text) const {
  return text == option || text == arch || text == arch.substr(arch.find(':') + 1);
}

std::span<const IsaLevel> isa_levels() { return kLevels; }

const IsaLevel& best_isa_level() {
  size_t best = 0;
  for (size_t i = 1; i < kLevels.size(); ++i)
    if (runs_here(i)) best = i;
  return kLevels[best];
}

Result<const IsaLevel*> find_isa_level(std::string_view option) {
  if (option.empty()) return &best_isa_level();
  std::vector<std::string_view> here;
  for (size_t i = 0; i < kLevels.size(); ++i)
    if (runs_here(i)) here.push_back(kLevels[i].option);
  for (size_t i = 0; i < kLevels.size(); ++i) {
    if (!kLevels[i].matches(option)) continue;
    if (runs_here(i)) return &kLevels[i];
    return unsupported(fmt::format("this processor ({}) does not run {}; it has: {}",
                                   processor_name(), option, fmt::join(here, ", ")));
  }
  return invalid_argument(fmt::format("cpu has no level \"{}\"; this processor has: {}", option,
                                      fmt::join(here, ", ")));
}

std::vector<std::string> isa_features(const IsaLevel& level) {
  const size_t limit = index_of(level);
  const std::vector<Feature> all = features();
  std::vector<std::string> found;
  for (const bool implied : {true, false})
    for (const Feature& feature : all)
      if (feature.implied == implied && feature.present && feature.level <= limit)
        found.emplace_back(feature.name);
  return found;
}

std::vector<std::string> implied_features(const IsaLevel& level) {
  std::vector<std::string> found;
  for (const Feature& feature : features())
    if (feature.implied && feature.level <= index_of(level)) found.emplace_back(feature.name);
  return found;
}

Capabilities capabilities_of(const IsaLevel& level, std::span<const std::string> features) {
  Capabilities result = level.capabilities;
  if (std::ranges::find(features, "amx-bf16") != features.end()) result.wide_products = false;
  return result;
}

std::vector<DType> native_types(std::span<const std::string> features) {
  std::vector<DType> types = {DType::i8,  DType::u8,  DType::i16, DType::i32,
                              DType::u32, DType::i64, DType::f32, DType::f64};
  const auto has = [&](std::string_view name) {
    return std::find(features.begin(), features.end(), name) != features.end();
  };
  if (has("avx512bf16") || has("amx-bf16")) types.push_back(DType::bf16);
  if (has("f16c") || has("avx512fp16")) types.push_back(DType::f16);
  return types;
}

std::string processor_name() {
#if defined(__x86_64__)
  unsigned words[12] = {};
  if (__get_cpuid_max(0x80000000, nullptr) >= 0x80000004) {
    for (unsigned i = 0; i < 3; ++i)
      __get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                  &words[4 * i + 3]);
    char text[sizeof words + 1] = {};
    std::memcpy(text, words, sizeof words);
    std::string_view name = text;
    while (!name.empty() && name.front() == ' ') name.remove_prefix(1);
    while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
    if (!name.empty()) return std::string(name);
  }
#endif
  const std::string_view arch = kLevels[0].arch;
  return std::string(arch.substr(arch.find(':') + 1));
}

}  // namespace tessera::chips::cpu
