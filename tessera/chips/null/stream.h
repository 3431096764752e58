// SPDX-License-Identifier: Apache-2.0
// The null chip's stream: what a stream of host memory does, with kernels that are interpreted.
#pragma once

#include "tessera/chips/null/device.h"
#include "tessera/runtime/host_stream.h"

namespace tessera::chips::null {

class NullStream final : public runtime::HostStream {
 public:
  explicit NullStream(NullDevice& device) : HostStream(device), live_(device.live()) {}

 private:
  Result<void> run_kernel(runtime::Executable& executable, runtime::Grid grid,
                          const uint64_t* slots) override;

  const LiveMemory& live_;
};

}  // namespace tessera::chips::null
