// SPDX-License-Identifier: Apache-2.0
// The memory ceiling of a device, measured: what every roofline number is divided by.
#pragma once

#include <cstddef>
#include <vector>

namespace tessera::runtime {

struct BandwidthOptions {
  size_t bytes = size_t{256} << 20;  // size of each array; must exceed the last-level cache by far
  int repeats = 5;                   // the best one counts
};

/// Rates in bytes per second. A copy counts the bytes read plus the bytes written.
struct BandwidthSample {
  int threads = 0;       // host threads taking part; 0 = the whole device
  double read_rate = 0;  // 0 = not measured
  double copy_rate = 0;
};

}  // namespace tessera::runtime
