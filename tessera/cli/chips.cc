// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/session.h"

namespace tessera::cli {
namespace {

std::vector<std::string_view> type_names(const runtime::DeviceInfo& info) {
  std::vector<std::string_view> names;
  for (DType dtype : info.native_types) names.push_back(name(dtype));
  return names;
}

nlohmann::json to_json(const runtime::DeviceInfo& info) {
  return {{"chip", info.chip},
          {"name", info.name},
          {"arch", info.arch},
          {"memory_bytes", info.memory_bytes},
          {"compute_units", info.compute_units},
          {"native_types", type_names(info)},
          {"features", info.features}};
}

void print(const runtime::DeviceInfo& info) {
  fmt::print("{:<10} {}\n", info.chip, info.name);
  fmt::print("           arch {}, {} compute units, {} of memory\n", info.arch, info.compute_units,
             size_text(static_cast<double>(info.memory_bytes)));
  fmt::print("           native: {}\n", fmt::join(type_names(info), " "));
  if (!info.features.empty())
    fmt::print("           features: {}\n", fmt::join(info.features, " "));
}

Result<int> run(const Arguments& arguments, const Program&) {
  auto all = nlohmann::json::array();
  for (const runtime::ChipEntry& chip : runtime::chips()) {
    const auto devices = chip.devices({});
    if (!devices.ok() || devices->empty()) {
      const std::string why = devices.ok() ? "no device here" : devices.error().message;
      if (arguments.json())
        all.push_back({{"chip", chip.name}, {"absent", why}});
      else
        fmt::print("{:<10} {}\n", chip.name, why);
      continue;
    }
    for (const auto& device : *devices) {
      if (arguments.json())
        all.push_back(to_json(device->info()));
      else
        print(device->info());
    }
  }
  if (arguments.json()) fmt::print("{}\n", all.dump(1));
  return 0;
}

}  // namespace

CommandSpec chips_command() {
  return {.path = "chips",
          .summary = "List the chips of this build and the devices found here",
          .details = "",
          .positionals = {},
          .options = {},
          .run = run};
}

}  // namespace tessera::cli
