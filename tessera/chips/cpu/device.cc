// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/device.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "tessera/base/cpu_topology.h"
#include "tessera/chips/cpu/executable.h"
#include "tessera/chips/cpu/guarded_memory.h"
#include "tessera/chips/cpu/stream.h"

namespace tessera::chips::cpu {
namespace {

using runtime::Buffer;
using runtime::ChipOptions;
using runtime::Device;
using runtime::DeviceInfo;
using runtime::Event;
using runtime::Executable;
using runtime::KernelImage;
using runtime::Stream;

/// From this size on the threads that will use a buffer touch it first: its pages land on their
/// nodes.
constexpr size_t kFirstTouchBytes = size_t{16} << 20;

constexpr int kMaxThreads = 1024;

class OwnedBuffer final : public Buffer {
 public:
  OwnedBuffer(Device& device, GuardedMemory memory, size_t bytes, std::atomic<uint64_t>& in_use)
      : Buffer(device, reinterpret_cast<uintptr_t>(memory.data()), bytes, memory.data()),
        memory_(std::move(memory)),
        in_use_(in_use) {}
  ~OwnedBuffer() override { in_use_.fetch_sub(size(), std::memory_order_relaxed); }

 private:
  GuardedMemory memory_;
  std::atomic<uint64_t>& in_use_;
};

class ImportedBuffer final : public Buffer {
 public:
  // The host pointer loses its const here; writable() is false and every write through a stream
  // checks it.
  ImportedBuffer(Device& device, std::span<const std::byte> bytes)
      : Buffer(device, reinterpret_cast<uintptr_t>(bytes.data()), bytes.size(),
               const_cast<std::byte*>(bytes.data()), Access::kReadOnly) {}
};

/// The number in a control-group file, or `fallback` when there is none ("max", no such file).
uint64_t read_limit(const char* path, uint64_t fallback) {
  std::ifstream file(path);
  uint64_t limit = 0;
  return file >> limit ? std::min(limit, fallback) : fallback;
}

uint64_t machine_memory() {
  const uint64_t physical =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return std::min(read_limit("/sys/fs/cgroup/memory.max", physical),
                  read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes", physical));
}

DeviceInfo describe(const IsaLevel& level, const ChipOptions& options) {
  DeviceInfo info;
  info.chip = "cpu";
  info.name = processor_name();
  info.arch = level.arch;
  info.memory_bytes = machine_memory();
  if (options.memory_limit != 0)
    info.memory_bytes = std::min(info.memory_bytes, options.memory_limit);
  info.compute_units = options.threads > 0 ? options.threads : CpuTopology::get().usable_cores();
  info.unit_scratch_bytes = kProgramStack;
  info.features = isa_features(level);
  info.native_types = native_types(info.features);
  info.capabilities = capabilities_of(level, info.features);
  return info;
}

}  // namespace

Result<std::vector<std::unique_ptr<Device>>> devices(const ChipOptions& options) {
  TESSERA_ASSIGN(const IsaLevel* level, find_isa_level(options.option));
  if (options.threads < 0 || options.threads > kMaxThreads)
    return invalid_argument(fmt::format("{} threads asked for; cpu takes 0 (all cores) to {}",
                                        options.threads, kMaxThreads));
  std::vector<std::unique_ptr<Device>> found;
  found.push_back(std::make_unique<CpuDevice>(*level, options));
  return found;
}

CpuDevice::CpuDevice(const IsaLevel& level, const ChipOptions& options)
    : Device(describe(level, options)),
      pool_(options.threads),
      guard_end_(options.guard_end),
      allow_host_functions_(options.allow_host_functions) {}

uint64_t CpuDevice::memory_free() const {
  const uint64_t in_use = memory_in_use();
  return in_use < info().memory_bytes ? info().memory_bytes - in_use : 0;
}

Result<std::unique_ptr<Buffer>> CpuDevice::allocate(size_t bytes) {
  const uint64_t before = in_use_.fetch_add(bytes, std::memory_order_relaxed);
  const uint64_t total = info().memory_bytes;
  if (before > total || bytes > total - before) {
    in_use_.fetch_sub(bytes, std::memory_order_relaxed);
    return out_of_memory(fmt::format("{} bytes requested on {}, {} free of {}", bytes, info().arch,
                                     before < total ? total - before : 0, total));
  }
  auto memory =
      GuardedMemory::map(bytes, guard_end_ ? Placement::kGuardEnd : Placement::kPageStart);
  if (!memory.ok()) {
    in_use_.fetch_sub(bytes, std::memory_order_relaxed);
    return std::move(memory)
        .context(fmt::format("{} bytes requested on {}, {} free of {}", bytes, info().arch,
                             total - before, total))
        .error();
  }
  if (bytes >= kFirstTouchBytes) {
    std::byte* data = memory->data();
    pool_.run(0, static_cast<int64_t>(bytes), GuardedMemory::kHugePage,
              [&](int, int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; i += 4096)
                  static_cast<volatile std::byte*>(data)[i] = std::byte{0};
              });
  }
  return std::unique_ptr<Buffer>(
      std::make_unique<OwnedBuffer>(*this, std::move(memory).value(), bytes, in_use_));
}

Result<std::unique_ptr<Buffer>> CpuDevice::import_host(std::span<const std::byte> bytes) {
  return std::unique_ptr<Buffer>(std::make_unique<ImportedBuffer>(*this, bytes));
}

Result<std::unique_ptr<Stream>> CpuDevice::create_stream() {
  return std::unique_ptr<Stream>(std::make_unique<CpuStream>(*this, pool_));
}

Result<std::unique_ptr<Event>> CpuDevice::create_event() {
  return std::unique_ptr<Event>(std::make_unique<runtime::HostEvent>(*this));
}

Result<std::shared_ptr<Executable>> CpuDevice::do_load(const KernelImage& image) {
  if (image.format == elf_format()) return CpuExecutable::load_elf(*this, image);
  if (allow_host_functions_ && image.format == kHostFunctionFormat)
    return CpuExecutable::load_host_function(*this, image);
  return unknown_format(image, elf_format());
}

}  // namespace tessera::chips::cpu
