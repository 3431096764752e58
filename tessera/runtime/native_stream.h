// SPDX-License-Identifier: Apache-2.0
// A stream that a library of the chip's vendor can queue work on.
#pragma once

namespace tessera::runtime {

/// Implemented by streams that have one (a CUstream); found by dynamic_cast.
class NativeStream {
 public:
  virtual void* native_handle() const = 0;

 protected:
  ~NativeStream() = default;
};

}  // namespace tessera::runtime
