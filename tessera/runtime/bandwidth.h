// SPDX-License-Identifier: Apache-2.0
// The memory ceiling of a device, measured: what every roofline number is divided by. Rates move
// while other programs run, so a benchmark takes one right before each of its own figures.
#pragma once

#include <cstddef>

#include "tessera/base/result.h"

namespace tessera::runtime {

struct BandwidthOptions {
  /// Of each array; a chip takes more where its caches are large.
  size_t bytes = size_t{256} << 20;
};

/// Holds the arrays; each call is one pass over them. Must not outlive its device.
class BandwidthProbe {
 public:
  virtual ~BandwidthProbe() = default;
  /// Of each array: far more than caches hold.
  virtual size_t bytes() const = 0;
  /// Bytes per second; 0 = not measured on this chip.
  virtual Result<double> read_rate() = 0;
  /// Bytes read plus bytes written, per second.
  virtual Result<double> copy_rate() = 0;
};

}  // namespace tessera::runtime
