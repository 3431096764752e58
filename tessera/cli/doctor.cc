// SPDX-License-Identifier: Apache-2.0
// What this machine has, what is missing and what to do about it.
#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tessera/base/cpu_topology.h"
#include "tessera/base/memory_limit.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/session.h"
#include "tessera/kernels/disk_cache.h"

namespace tessera::cli {
namespace {

struct Finding {
  enum class Level : uint8_t { kGood, kNote, kBad };
  Level level;
  std::string what, state, advice;
};
using Level = Finding::Level;
using Findings = std::vector<Finding>;

std::string read_text(const char* path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void check_compiler(const Program& program, Findings& findings) {
  if (program.compiler == nullptr) {
    findings.push_back(
        {Level::kNote, "compiler", "none in this program", "kernels come from packs: --pack FILE"});
    return;
  }
  findings.push_back({Level::kGood, "compiler",
                      fmt::format("version {}, for {}", program.compiler->version(),
                                  fmt::join(program.architectures, ", ")),
                      ""});
}

void check_chips(Findings& findings) {
  for (const runtime::ChipEntry& chip : runtime::chips()) {
    const std::string what = fmt::format("chip {}", chip.name);
    const auto devices = chip.devices({});
    if (!devices.ok())
      findings.push_back({Level::kBad, what, devices.error().message, "check the driver"});
    else if (devices->empty())
      findings.push_back({Level::kNote, what, "no device here", ""});
    else
      for (const auto& device : *devices)
        findings.push_back({Level::kGood, what,
                            fmt::format("{} ({})", device->info().name, device->info().arch), ""});
  }
}

/// Drivers are opened at run time; this says which are installed even where no device shows up.
void check_drivers(Findings& findings) {
  struct Driver {
    const char *what, *library, *advice;
  };
  static constexpr Driver kDrivers[] = {
      {"CUDA driver", "libcuda.so.1", "needed for NVIDIA GPUs only: install the NVIDIA driver"},
      {"Vulkan loader", "libvulkan.so.1",
       "needed for Vulkan devices only: apt install libvulkan1 mesa-vulkan-drivers"},
      {"OpenCL loader", "libOpenCL.so.1",
       "needed for OpenCL devices only: apt install ocl-icd-libopencl1"},
  };
  for (const Driver& driver : kDrivers) {
    void* library = ::dlopen(driver.library, RTLD_LAZY | RTLD_LOCAL);
    if (library != nullptr)
      findings.push_back({Level::kGood, driver.what, fmt::format("{} found", driver.library), ""});
    else
      findings.push_back(
          {Level::kNote, driver.what, fmt::format("{} not found", driver.library), driver.advice});
    if (library != nullptr) ::dlclose(library);
  }
}

void check_cpu(Findings& findings) {
  const CpuTopology& cpu = CpuTopology::get();
  std::string state = fmt::format("{} cores, {} hardware threads, {} NUMA node(s), L2 {}, L3 {}",
                                  cpu.cores.size(), cpu.hardware_threads, cpu.numa_nodes,
                                  size_text(static_cast<double>(cpu.l2_bytes)),
                                  size_text(static_cast<double>(cpu.l3_bytes)));
  if (cpu.quota > 0) state += fmt::format("; the cgroup grants {} CPUs", cpu.quota);
  findings.push_back({Level::kGood, "processor", std::move(state), ""});
}

void check_memory(Findings& findings) {
  const MemoryLimit memory = MemoryLimit::read();
  findings.push_back(
      {Level::kGood, "memory",
       fmt::format("{} available of {}{}", size_text(static_cast<double>(memory.available)),
                   size_text(static_cast<double>(memory.total)),
                   memory.is_cgroup ? ", the limit of the cgroup" : ""),
       ""});
  const std::string huge = read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  if (huge.empty())
    findings.push_back({Level::kNote, "huge pages", "not known on this kernel", ""});
  else if (huge.find("[never]") != huge.npos)
    findings.push_back(
        {Level::kNote, "huge pages", "off",
         "large weights read slower: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"});
  else
    findings.push_back({Level::kGood, "huge pages",
                        huge.find("[always]") != huge.npos ? "always" : "on request", ""});
}

void check_cache(Findings& findings) {
  const auto folder = kernels::DiskCache::default_folder();
  if (folder.empty()) {
    findings.push_back(
        {Level::kBad, "kernel cache", "no folder: HOME is not set", "set TESSERA_CACHE_DIR"});
    return;
  }
  const kernels::DiskCache cache(folder);
  const auto writable = cache.check_writable();
  if (!writable.ok()) {
    findings.push_back(
        {Level::kBad, "kernel cache", writable.error().message,
         "kernels are compiled at each start: set TESSERA_CACHE_DIR to a writable folder"});
    return;
  }
  const auto usage = cache.usage();
  findings.push_back({Level::kGood, "kernel cache",
                      fmt::format("{}: {} kernels, {}", folder.string(), usage.files,
                                  size_text(static_cast<double>(usage.bytes))),
                      ""});
}

std::string_view level_text(Level level) {
  return level == Level::kGood ? "ok" : level == Level::kNote ? "note" : "BAD";
}

Result<int> run(const Arguments& arguments, const Program& program) {
  Findings findings;
  check_compiler(program, findings);
  check_cpu(findings);
  check_memory(findings);
  check_cache(findings);
  check_drivers(findings);
  check_chips(findings);

  bool good = true;
  auto json = nlohmann::json::array();
  for (const Finding& f : findings) {
    good = good && f.level != Level::kBad;
    if (arguments.json()) {
      json.push_back({{"level", level_text(f.level)},
                      {"what", f.what},
                      {"state", f.state},
                      {"advice", f.advice}});
      continue;
    }
    fmt::print("{:<5} {:<15} {}\n", level_text(f.level), f.what, f.state);
    if (!f.advice.empty()) fmt::print("                      -> {}\n", f.advice);
  }
  if (arguments.json()) fmt::print("{}\n", json.dump(1));
  return good ? 0 : 1;
}

}  // namespace

CommandSpec doctor_command() {
  return {.path = "doctor",
          .summary = "Say what this machine has, what is missing and what to do",
          .details = "Exit code 1 when something must be repaired.",
          .positionals = {},
          .options = {},
          .run = run};
}

}  // namespace tessera::cli
