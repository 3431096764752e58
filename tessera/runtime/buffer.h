// SPDX-License-Identifier: Apache-2.0
// Device memory. Every chip has 64-bit addresses (CUDA pointers, Vulkan buffer device addresses),
// so an operand is passed to a kernel as an address and any interior offset is plain addition.
//
// A buffer must outlive the work queued on it and the graphs that name it, and its device must
// outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tessera::runtime {

class Device;

class Buffer {
 public:
  virtual ~Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Device& device() const { return device_; }
  /// Device address of byte 0; at least 64-byte aligned unless the buffer wraps host memory.
  uint64_t address() const { return address_; }
  /// Bytes asked for, without padding. May be 0.
  size_t size() const { return size_; }
  /// The same bytes seen by the host, or nullptr when the chip's memory is not host visible.
  std::byte* host_data() const { return host_data_; }
  /// False for imported read-only memory (mapped weights): copies and fills into it are refused.
  bool writable() const { return access_ == Access::kReadWrite; }

 protected:
  enum class Access : uint8_t { kReadOnly, kReadWrite };

  Buffer(Device& device, uint64_t address, size_t size, std::byte* host_data,
         Access access = Access::kReadWrite)
      : device_(device), address_(address), size_(size), host_data_(host_data), access_(access) {}

 private:
  Device& device_;
  uint64_t address_;
  size_t size_;
  std::byte* host_data_;
  Access access_;
};

}  // namespace tessera::runtime
