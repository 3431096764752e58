// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/device.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "tessera/chips/null/stream.h"

namespace tessera::chips::null {
namespace {

using runtime::Buffer;
using runtime::Device;
using runtime::DeviceInfo;
using runtime::Event;
using runtime::Executable;
using runtime::KernelImage;
using runtime::Stream;

constexpr std::align_val_t kAlignment{64};

struct FreeAligned {
  void operator()(std::byte* data) const { operator delete(data, kAlignment); }
};
using Storage = std::unique_ptr<std::byte, FreeAligned>;

class OwnedBuffer final : public Buffer {
 public:
  OwnedBuffer(NullDevice& device, Storage storage, size_t bytes)
      : Buffer(device, reinterpret_cast<uintptr_t>(storage.get()), bytes, storage.get()),
        device_(device),
        storage_(std::move(storage)) {
    device_.live().add(address(), bytes, true);
  }
  ~OwnedBuffer() override {
    device_.live().remove(address(), size());
    device_.release(size());
  }

 private:
  NullDevice& device_;
  Storage storage_;
};

class ImportedBuffer final : public Buffer {
 public:
  // The pointer loses its const here; writable() is false, and streams and kernels look at it.
  ImportedBuffer(NullDevice& device, std::span<const std::byte> bytes)
      : Buffer(device, reinterpret_cast<uintptr_t>(bytes.data()), bytes.size(),
               const_cast<std::byte*>(bytes.data()), Access::kReadOnly),
        device_(device) {
    device_.live().add(address(), size(), false);
  }
  ~ImportedBuffer() override { device_.live().remove(address(), size()); }

 private:
  NullDevice& device_;
};

DeviceInfo describe(const runtime::ChipOptions& options) {
  DeviceInfo info;
  info.chip = "null";
  info.name = "trace interpreter";
  info.arch = kArch;
  info.memory_bytes =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (options.memory_limit != 0)
    info.memory_bytes = std::min(info.memory_bytes, options.memory_limit);
  info.compute_units = 1;
  info.native_types = {DType::f32, DType::i32, DType::u32, DType::i64};
  return info;
}

}  // namespace

Result<std::vector<std::unique_ptr<Device>>> devices(const runtime::ChipOptions& options) {
  if (!options.option.empty())
    return invalid_argument(
        fmt::format("chip null has no options, \"{}\" was given", options.option));
  std::vector<std::unique_ptr<Device>> found;
  found.push_back(std::make_unique<NullDevice>(options));
  return found;
}

void LiveMemory::add(uint64_t address, size_t bytes, bool writable) {
  const std::lock_guard lock(mutex_);
  ranges_.emplace(address, MemoryRange{address, address + bytes, writable});
}

void LiveMemory::remove(uint64_t address, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto [first, last] = ranges_.equal_range(address);
  const auto it =
      std::find_if(first, last, [&](const auto& e) { return e.second.end == address + bytes; });
  if (it != last) ranges_.erase(it);
}

std::optional<MemoryRange> LiveMemory::find(uint64_t address) const {
  const std::lock_guard lock(mutex_);
  auto it = ranges_.upper_bound(address);
  while (it != ranges_.begin())
    if ((--it)->second.end > address) return it->second;
  return std::nullopt;
}

NullDevice::NullDevice(const runtime::ChipOptions& options) : Device(describe(options)) {}

uint64_t NullDevice::memory_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

uint64_t NullDevice::memory_free() const { return info().memory_bytes - memory_in_use(); }

void NullDevice::release(size_t bytes) {
  const std::lock_guard lock(mutex_);
  in_use_ -= bytes;
}

Result<std::unique_ptr<Buffer>> NullDevice::allocate(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const uint64_t total = info().memory_bytes, free = total - in_use_;
  Storage storage;
  if (bytes <= free)
    storage.reset(static_cast<std::byte*>(operator new(std::max<size_t>(bytes, 1), kAlignment,
                                                       std::nothrow)));
  if (storage == nullptr)
    return out_of_memory(
        fmt::format("{} bytes requested on {}, {} free of {}", bytes, info().arch, free, total));
  in_use_ += bytes;
  return std::unique_ptr<Buffer>(std::make_unique<OwnedBuffer>(*this, std::move(storage), bytes));
}

Result<std::unique_ptr<Buffer>> NullDevice::import_host(std::span<const std::byte> bytes) {
  return std::unique_ptr<Buffer>(std::make_unique<ImportedBuffer>(*this, bytes));
}

Result<std::unique_ptr<Stream>> NullDevice::create_stream() {
  return std::unique_ptr<Stream>(std::make_unique<NullStream>(*this));
}

Result<std::unique_ptr<Event>> NullDevice::create_event() {
  return std::unique_ptr<Event>(std::make_unique<runtime::HostEvent>(*this));
}

Result<std::shared_ptr<Executable>> NullDevice::do_load(const KernelImage& image) {
  if (image.format != kTraceFormat) return unknown_format(image, kTraceFormat);
  auto trace = lang::Trace::parse(image.code);
  if (!trace.ok()) return std::move(trace).context(fmt::format("kernel {}", image.entry)).error();
  if (trace->slot_count != image.slot_count)
    return corrupt(fmt::format("kernel {}: the image says {} slots, its trace {}", image.entry,
                               image.slot_count, trace->slot_count));
  return std::shared_ptr<Executable>(
      std::make_shared<NullExecutable>(*this, std::move(trace).value()));
}

}  // namespace tessera::chips::null
