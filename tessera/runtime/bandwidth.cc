// SPDX-License-Identifier: Apache-2.0
// The measurement that works on every chip: large copies inside device memory, timed by events.
#include "tessera/runtime/bandwidth.h"

#include <algorithm>

#include "tessera/runtime/device.h"

namespace tessera::runtime {

Result<std::vector<BandwidthSample>> Device::measure_bandwidth(const BandwidthOptions& options) {
  TESSERA_ASSIGN(auto from, allocate(options.bytes));
  TESSERA_ASSIGN(auto to, allocate(options.bytes));
  TESSERA_ASSIGN(auto stream, create_stream());
  TESSERA_ASSIGN(auto start, create_event());
  TESSERA_ASSIGN(auto stop, create_event());
  TESSERA_TRY(stream->fill(*from, 0, options.bytes, 1));
  TESSERA_TRY(stream->fill(*to, 0, options.bytes, 2));
  double best_ms = 0;
  for (int i = 0; i < std::max(1, options.repeats); ++i) {
    TESSERA_TRY(stream->record(*start));
    TESSERA_TRY(stream->copy(*to, 0, *from, 0, options.bytes));
    TESSERA_TRY(stream->record(*stop));
    TESSERA_TRY(stream->synchronize());
    TESSERA_ASSIGN(const double ms, stop->elapsed_ms_since(*start));
    if (best_ms == 0 || (ms > 0 && ms < best_ms)) best_ms = ms;
  }
  BandwidthSample sample;
  if (best_ms > 0) sample.copy_rate = 2e3 * static_cast<double>(options.bytes) / best_ms;
  return std::vector{sample};
}

}  // namespace tessera::runtime
