// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/stream.h"

#include <algorithm>

#include "tessera/chips/cpu/executable.h"

namespace tessera::chips::cpu {
namespace {

/// Chunks a worker is given of a launch: enough to even out programs of unequal cost, few enough
/// that what each does first, such as packing a product's activations, is little beside the rest.
constexpr int64_t kChunksPerWorker = 4;

/// Below this a single thread copies or fills faster than two that must meet.
constexpr size_t kParallelBytes = size_t{1} << 20;
constexpr int64_t kCopyGrain = int64_t{1} << 18;

struct Launch {
  KernelFunction function;
  const uint64_t* slots;
  uint32_t grid[3];
};

}  // namespace

Result<void> CpuStream::run_kernel(runtime::Executable& executable, runtime::Grid grid,
                                   const uint64_t* slots) {
  const KernelFunction function = static_cast<CpuExecutable&>(executable).function();
  Launch launch = {function, slots, {grid.x, grid.y, grid.z}};
  const int64_t programs = grid.programs();
  if (programs == 1 || pool_.size() == 1) {
    function(slots, launch.grid, 0, programs);
    return {};
  }
  const int64_t grain = std::max<int64_t>(1, programs / (pool_.size() * kChunksPerWorker));
  pool_.run(
      0, programs, grain,
      [](void* context, int, int64_t begin, int64_t end) {
        const Launch& launch = *static_cast<const Launch*>(context);
        launch.function(launch.slots, launch.grid, begin, end);
      },
      &launch);
  return {};
}

void CpuStream::copy_bytes(std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes < kParallelBytes) return HostStream::copy_bytes(to, from, bytes);
  pool_.run(0, static_cast<int64_t>(bytes), kCopyGrain, [&](int, int64_t begin, int64_t end) {
    HostStream::copy_bytes(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

void CpuStream::fill_bytes(std::byte* to, size_t bytes, uint32_t pattern, uint32_t pattern_bytes) {
  if (bytes < kParallelBytes) return HostStream::fill_bytes(to, bytes, pattern, pattern_bytes);
  pool_.run(0, static_cast<int64_t>(bytes), kCopyGrain, [&](int, int64_t begin, int64_t end) {
    HostStream::fill_bytes(to + begin, static_cast<size_t>(end - begin), pattern, pattern_bytes);
  });
}

}  // namespace tessera::chips::cpu
