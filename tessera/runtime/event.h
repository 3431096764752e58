// SPDX-License-Identifier: Apache-2.0
// A point in a stream's order: recorded by Stream::record, awaited by another stream or by the
// host, and used to time what ran between two of them.
#pragma once

#include "tessera/base/result.h"

namespace tessera::runtime {

class Device;

class Event {
 public:
  virtual ~Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  Device& device() const { return device_; }
  /// True when the work before the last record() is done, and when nothing was ever recorded.
  virtual Result<bool> query() = 0;
  /// Blocks the host until query() would be true.
  virtual Result<void> synchronize() = 0;
  /// Milliseconds of device time from `start` to this event. Both must be recorded and done.
  virtual Result<double> elapsed_ms_since(Event& start) = 0;

 protected:
  explicit Event(Device& device) : device_(device) {}

 private:
  Device& device_;
};

}  // namespace tessera::runtime
