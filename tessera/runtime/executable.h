// SPDX-License-Identifier: Apache-2.0
// A kernel image loaded on one device, ready to launch. Held by shared_ptr: captured graphs keep a
// share, so an executable may be dropped from a cache while a graph still replays it.
#pragma once

#include <cstdint>
#include <memory>

namespace tessera::runtime {

class Device;

class Executable : public std::enable_shared_from_this<Executable> {
 public:
  virtual ~Executable() = default;
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;

  Device& device() const { return device_; }
  /// Number of 64-bit argument slots a launch must pass.
  uint32_t slot_count() const { return slot_count_; }

 protected:
  Executable(Device& device, uint32_t slot_count) : device_(device), slot_count_(slot_count) {}

 private:
  Device& device_;
  uint32_t slot_count_;
};

}  // namespace tessera::runtime
