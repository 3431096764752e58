// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/chip_registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>

#include "tessera/base/log.h"

namespace tessera::runtime {
namespace {

struct Spec {
  std::string_view chip;
  std::string_view option;
  size_t index = 0;
};

Result<Spec> parse_spec(std::string_view text) {
  Spec spec;
  std::string_view rest = text;
  for (int part = 0; part == 0 || !rest.empty(); ++part) {
    const size_t colon = rest.find(':');
    const std::string_view word = rest.substr(0, colon);
    rest = colon == rest.npos ? std::string_view{} : rest.substr(colon + 1);
    if (word.empty()) return invalid_argument(fmt::format("device \"{}\" has an empty part", text));
    size_t index = 0;
    const auto [end, error] = std::from_chars(word.begin(), word.end(), index);
    const bool is_index = error == std::errc{} && end == word.end();
    if (part == 0)
      spec.chip = word;
    else if (is_index && rest.empty())
      spec.index = index;
    else if (spec.option.empty())
      spec.option = word;
    else
      return invalid_argument(fmt::format("device \"{}\" is not chip[:option][:index]", text));
  }
  return spec;
}

}  // namespace

Result<const ChipEntry*> find_chip(std::string_view name, std::span<const ChipEntry> table) {
  std::vector<std::string_view> names;
  for (const ChipEntry& entry : table) {
    if (entry.name == name) return &entry;
    names.push_back(entry.name);
  }
  return not_found(fmt::format("no chip \"{}\"; this build has: {}", name, fmt::join(names, ", ")));
}

Result<std::unique_ptr<Device>> open_device(std::string_view text, ChipOptions options,
                                            std::span<const ChipEntry> table) {
  TESSERA_ASSIGN(const Spec spec, parse_spec(text));
  TESSERA_ASSIGN(const ChipEntry* chip, find_chip(spec.chip, table));
  if (!spec.option.empty()) options.option = spec.option;
  options.required = true;
  auto devices = chip->devices(options);
  if (!devices.ok()) return std::move(devices).context(fmt::format("opening {}", text)).error();
  if (spec.index >= devices->size())
    return not_found(fmt::format("no device \"{}\": chip {} has {} here", text, spec.chip,
                                 devices->empty() ? std::string("no device")
                                                  : fmt::format("{} device(s)", devices->size())));
  return std::move((*devices)[spec.index]);
}

std::vector<std::unique_ptr<Device>> all_devices(const ChipOptions& options,
                                                 std::span<const ChipEntry> table) {
  std::vector<std::unique_ptr<Device>> all;
  for (const ChipEntry& entry : table) {
    auto devices = entry.devices(options);
    if (!devices.ok()) {
      TESSERA_LOG(warn, "chip {} left out: {}", entry.name, devices.error().to_string());
      continue;
    }
    for (auto& device : *devices) all.push_back(std::move(device));
  }
  return all;
}

}  // namespace tessera::runtime
