// SPDX-License-Identifier: Apache-2.0
// What a device can do at best, measured: memory rates by the runtime, arithmetic rates by small
// kernels that touch next to no memory. Shares in benchmarks are shares of these.
#pragma once

#include <memory>
#include <vector>

#include "tessera/kernels/kernel_library.h"

namespace tessera::ops {

/// Bytes and floating-point (or integer) operations per second; 0 = not measured.
struct Ceilings {
  double read_rate = 0, copy_rate = 0;
  double f32_rate = 0;   // fused multiply-add, two operations
  double bf16_rate = 0;  // dot of bf16; never below f32_rate
  double i8_rate = 0;    // dot of i8; never below f32_rate
  /// Measures the first two again. Must not outlive the device.
  std::shared_ptr<runtime::BandwidthProbe> memory;
};

/// A kernel that a chip cannot run leaves its rate out.
Result<Ceilings> measure_ceilings(kernels::KernelLibrary& library);

/// The kernels measure_ceilings() runs, so that a pack can hold them.
std::vector<lang::Trace> ceiling_traces(const runtime::Capabilities& capabilities);

}  // namespace tessera::ops
