// SPDX-License-Identifier: Apache-2.0
// The interpreter as a device: buffers are plain host memory, a kernel is a trace, a launch walks
// it. Needs nothing of the machine, so it exists everywhere; copied to start a new chip
// (README.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "tessera/chips/null/memory.h"
#include "tessera/lang/trace.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/device.h"

namespace tessera::chips::null {

/// One device. It has no options.
Result<std::vector<std::unique_ptr<runtime::Device>>> devices(const runtime::ChipOptions& options);

/// Format of the images this device loads: bytes of Trace::serialize.
inline constexpr std::string_view kTraceFormat = "trace";
inline constexpr std::string_view kArch = "null:trace";

/// The addresses of live buffers. Shared by the device and whatever still runs on it.
class LiveMemory {
 public:
  void add(uint64_t address, size_t bytes, bool writable);
  void remove(uint64_t address, size_t bytes);
  std::optional<MemoryRange> find(uint64_t address) const;

 private:
  mutable std::mutex mutex_;
  std::multimap<uint64_t, MemoryRange> ranges_;  // by first address; imported ones may repeat
};

class NullDevice final : public runtime::Device {
 public:
  explicit NullDevice(const runtime::ChipOptions& options);

  Result<std::unique_ptr<runtime::Buffer>> allocate(size_t bytes) override;
  Result<std::unique_ptr<runtime::Buffer>> import_host(std::span<const std::byte> bytes) override;
  Result<std::unique_ptr<runtime::Stream>> create_stream() override;
  Result<std::unique_ptr<runtime::Event>> create_event() override;
  uint64_t memory_in_use() const override;
  uint64_t memory_free() const override;

  LiveMemory& live() { return live_; }
  void release(size_t bytes);

 private:
  Result<std::shared_ptr<runtime::Executable>> do_load(const runtime::KernelImage& image) override;

  LiveMemory live_;
  mutable std::mutex mutex_;
  uint64_t in_use_ = 0;
};

class NullExecutable final : public runtime::Executable {
 public:
  NullExecutable(runtime::Device& device, lang::Trace trace)
      : Executable(device, trace.slot_count), trace_(std::move(trace)) {}

  const lang::Trace& trace() const { return trace_; }

 private:
  lang::Trace trace_;
};

}  // namespace tessera::chips::null
