// SPDX-License-Identifier: Apache-2.0
// Read and copy rates of main memory: a reduction that cannot be cheaper than load + add, and a
// copy with streaming stores, so that no line is read before it is written.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "tessera/chips/cpu/device.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tessera::chips::cpu {
namespace {

using runtime::BandwidthOptions;
using runtime::BandwidthSample;
using runtime::Device;

constexpr size_t kBlock = 512;  // bytes a loop step handles; sizes are multiples of it

struct Loops {
  uint64_t (*read)(const std::byte* from, size_t bytes);
  void (*copy)(std::byte* to, const std::byte* from, size_t bytes);
};

#if defined(__x86_64__)

__attribute__((target("avx512f"))) uint64_t read_avx512(const std::byte* from, size_t bytes) {
  __m512i sums[8] = {};
  for (size_t i = 0; i < bytes; i += kBlock)
    for (int k = 0; k < 8; ++k)
      sums[k] = _mm512_add_epi64(sums[k], _mm512_load_si512(from + i + 64 * k));
  for (int k = 1; k < 8; ++k) sums[0] = _mm512_add_epi64(sums[0], sums[k]);
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sums[0]));
}

__attribute__((target("avx512f"))) void copy_avx512(std::byte* to, const std::byte* from,
                                                    size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_load_si512(from + i));
  _mm_sfence();
}

__attribute__((target("avx2"))) uint64_t read_avx2(const std::byte* from, size_t bytes) {
  __m256i sums[8] = {};
  for (size_t i = 0; i < bytes; i += 256)
    for (int k = 0; k < 8; ++k)
      sums[k] = _mm256_add_epi64(
          sums[k], _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i + 32 * k)));
  for (int k = 1; k < 8; ++k) sums[0] = _mm256_add_epi64(sums[0], sums[k]);
  uint64_t lanes[4];
  std::memcpy(lanes, &sums[0], sizeof lanes);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

__attribute__((target("avx2"))) void copy_avx2(std::byte* to, const std::byte* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 32)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i)));
  _mm_sfence();
}

uint64_t read_sse2(const std::byte* from, size_t bytes) {
  __m128i sums[8] = {};
  for (size_t i = 0; i < bytes; i += 128)
    for (int k = 0; k < 8; ++k)
      sums[k] = _mm_add_epi64(sums[k],
                              _mm_load_si128(reinterpret_cast<const __m128i*>(from + i + 16 * k)));
  for (int k = 1; k < 8; ++k) sums[0] = _mm_add_epi64(sums[0], sums[k]);
  uint64_t lanes[2];
  std::memcpy(lanes, &sums[0], sizeof lanes);
  return lanes[0] + lanes[1];
}

void copy_sse2(std::byte* to, const std::byte* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm_load_si128(reinterpret_cast<const __m128i*>(from + i)));
  _mm_sfence();
}

Loops loops_for(const Device& device) {
  if (device.info().has_feature("avx512f")) return {read_avx512, copy_avx512};
  if (device.info().has_feature("avx2")) return {read_avx2, copy_avx2};
  return {read_sse2, copy_sse2};
}

#else

uint64_t read_plain(const std::byte* from, size_t bytes) {
  const auto* words = reinterpret_cast<const uint64_t*>(from);
  uint64_t sums[8] = {};
  for (size_t i = 0; i < bytes / sizeof(uint64_t); i += 8)
    for (int k = 0; k < 8; ++k) sums[k] += words[i + k];
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

void copy_plain(std::byte* to, const std::byte* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

Loops loops_for(const Device&) { return {read_plain, copy_plain}; }

#endif

template <class F>
double best_seconds(int repeats, F&& work) {
  double best = 0;
  for (int i = 0; i < std::max(1, repeats); ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (i == 0 || time.count() < best) best = time.count();
  }
  return best;
}

BandwidthSample measure(const Loops& loops, int threads, int repeats, std::byte* to,
                        const std::byte* from, size_t bytes) {
  ThreadPool pool(threads);
  const auto blocks = static_cast<int64_t>(bytes / kBlock);
  const int64_t grain = std::max<int64_t>(1, blocks / (threads * 8));
  std::atomic<uint64_t> sink{0};
  const double read = best_seconds(repeats, [&] {
    pool.run(0, blocks, grain, [&](int, int64_t begin, int64_t end) {
      sink.fetch_add(loops.read(from + begin * kBlock, static_cast<size_t>(end - begin) * kBlock),
                     std::memory_order_relaxed);
    });
  });
  const double copy = best_seconds(repeats, [&] {
    pool.run(0, blocks, grain, [&](int, int64_t begin, int64_t end) {
      loops.copy(to + begin * kBlock, from + begin * kBlock,
                 static_cast<size_t>(end - begin) * kBlock);
    });
  });
  const double moved = static_cast<double>(blocks) * kBlock;
  return {.threads = threads, .read_rate = moved / read, .copy_rate = 2 * moved / copy};
}

}  // namespace

Result<std::vector<BandwidthSample>> CpuDevice::measure_bandwidth(const BandwidthOptions& options) {
  const size_t bytes = std::max(kBlock, options.bytes / kBlock * kBlock);
  TESSERA_ASSIGN(auto from, allocate(bytes));
  TESSERA_ASSIGN(auto to, allocate(bytes));
  TESSERA_ASSIGN(auto stream, create_stream());
  TESSERA_TRY(stream->fill(*from, 0, bytes, 1));  // untouched pages would all be one page of zeros
  TESSERA_TRY(stream->fill(*to, 0, bytes, 2));
  const Loops loops = loops_for(*this);
  std::vector<BandwidthSample> samples;
  for (int threads = 1;; threads = std::min(2 * threads, pool_.size())) {
    samples.push_back(
        measure(loops, threads, options.repeats, to->host_data(), from->host_data(), bytes));
    if (threads == pool_.size()) return samples;
  }
}

}  // namespace tessera::chips::cpu
