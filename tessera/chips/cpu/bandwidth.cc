// SPDX-License-Identifier: Apache-2.0
// Read and copy rates of main memory: a reduction that cannot be cheaper than load + add, and a
// copy with streaming stores, so that no line is read before it is written. Which order of access
// is the fastest differs between processors: each is tried when the probe is made.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "tessera/base/cpu_topology.h"
#include "tessera/chips/cpu/device.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tessera::chips::cpu {
namespace {

using runtime::BandwidthOptions;
using runtime::BandwidthProbe;

constexpr size_t kBlock = 16384;  // bytes a loop step handles; sizes are multiples of it
constexpr size_t kAhead = 12288;  // bytes the prefetching orders are ahead

/// In which order the bytes of a block are visited.
enum class Order : uint8_t {
  kLinear,
  kPrefetched,  // the same, each line asked for kAhead bytes before
  kFourRows,    // four streams side by side, as in operators that combine rows
};
constexpr Order kOrders[] = {Order::kLinear, Order::kPrefetched, Order::kFourRows};

/// The sum of a block's words. A vector type of the compiler: the caller's target decides which
/// instructions it becomes.
template <class Vector>
[[gnu::always_inline]] inline uint64_t read_blocks(const std::byte* from, size_t bytes,
                                                   Order order) {
  constexpr size_t kVector = sizeof(Vector), kSums = 8;
  Vector sums[kSums] = {};
  const size_t stride = order == Order::kFourRows ? kBlock / 4 : 2 * kVector;
  const size_t span = order == Order::kFourRows ? kBlock / 4 : kBlock;
  const size_t step = order == Order::kFourRows ? 2 * kVector : kSums * kVector;
  for (size_t block = 0; block < bytes; block += kBlock)
    for (size_t i = 0; i < span; i += step) {
      const std::byte* at = from + block + i;
      if (order == Order::kPrefetched)
        for (size_t line = 0; line < step; line += 64) __builtin_prefetch(at + kAhead + line, 0, 2);
      for (size_t k = 0; k < kSums; ++k) {
        Vector v;
        __builtin_memcpy(&v, at + k / 2 * stride + k % 2 * kVector, kVector);
        sums[k] += v;
      }
    }
  for (size_t k = 1; k < kSums; ++k) sums[0] += sums[k];
  uint64_t sum = 0;
  for (size_t lane = 0; lane < kVector / 8; ++lane) sum += static_cast<uint64_t>(sums[0][lane]);
  return sum;
}

/// The loop for each order by itself, so that none pays for the others' tests.
template <class Vector>
[[gnu::always_inline]] inline uint64_t read_in(const std::byte* from, size_t bytes, Order order) {
  if (order == Order::kLinear) return read_blocks<Vector>(from, bytes, Order::kLinear);
  if (order == Order::kPrefetched) return read_blocks<Vector>(from, bytes, Order::kPrefetched);
  return read_blocks<Vector>(from, bytes, Order::kFourRows);
}

using Vector16 [[gnu::vector_size(16)]] = long long;

struct Loops {
  uint64_t (*read)(const std::byte* from, size_t bytes, Order order);
  /// kFourRows counts as kLinear.
  void (*copy)(std::byte* to, const std::byte* from, size_t bytes, Order order);
};

uint64_t read_baseline(const std::byte* from, size_t bytes, Order order) {
  return read_in<Vector16>(from, bytes, order);
}

#if defined(__x86_64__)

using Vector32 [[gnu::vector_size(32)]] = long long;
using Vector64 [[gnu::vector_size(64)]] = long long;

__attribute__((target("avx512f"))) uint64_t read_avx512(const std::byte* from, size_t bytes,
                                                        Order order) {
  return read_in<Vector64>(from, bytes, order);
}

__attribute__((target("avx2"))) uint64_t read_avx2(const std::byte* from, size_t bytes,
                                                   Order order) {
  return read_in<Vector32>(from, bytes, order);
}

__attribute__((target("avx512f"))) void copy_avx512(std::byte* to, const std::byte* from,
                                                    size_t bytes, Order order) {
  for (size_t i = 0; i < bytes; i += 64) {
    if (order == Order::kPrefetched) __builtin_prefetch(from + i + kAhead, 0, 2);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_load_si512(from + i));
  }
  _mm_sfence();
}

__attribute__((target("avx2"))) void copy_avx2(std::byte* to, const std::byte* from, size_t bytes,
                                               Order order) {
  for (size_t i = 0; i < bytes; i += 64) {
    if (order == Order::kPrefetched) __builtin_prefetch(from + i + kAhead, 0, 2);
    for (size_t k = i; k < i + 64; k += 32)
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + k),
                          _mm256_load_si256(reinterpret_cast<const __m256i*>(from + k)));
  }
  _mm_sfence();
}

void copy_sse2(std::byte* to, const std::byte* from, size_t bytes, Order order) {
  for (size_t i = 0; i < bytes; i += 64) {
    if (order == Order::kPrefetched) __builtin_prefetch(from + i + kAhead, 0, 2);
    for (size_t k = i; k < i + 64; k += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + k),
                       _mm_load_si128(reinterpret_cast<const __m128i*>(from + k)));
  }
  _mm_sfence();
}

Loops loops_for(const CpuDevice& device) {
  if (device.info().has_feature("avx512f")) return {read_avx512, copy_avx512};
  if (device.info().has_feature("avx2")) return {read_avx2, copy_avx2};
  return {read_baseline, copy_sse2};
}

#else

void copy_plain(std::byte* to, const std::byte* from, size_t bytes, Order) {
  std::memcpy(to, from, bytes);
}

Loops loops_for(const CpuDevice&) { return {read_baseline, copy_plain}; }

#endif

class CpuBandwidthProbe final : public BandwidthProbe {
 public:
  static Result<std::unique_ptr<BandwidthProbe>> create(CpuDevice& device, size_t bytes) {
    std::unique_ptr<CpuBandwidthProbe> probe(new CpuBandwidthProbe(device, bytes));
    // What prefetching asks for behind the end is inside of this margin.
    TESSERA_ASSIGN(probe->from_, device.allocate(bytes + kAhead + kBlock));
    TESSERA_ASSIGN(probe->to_, device.allocate(bytes));
    TESSERA_ASSIGN(auto stream, device.create_stream());
    // Untouched pages would all be one page of zeros.
    TESSERA_TRY(stream->fill(*probe->from_, 0, probe->from_->size(), 1));
    TESSERA_TRY(stream->fill(*probe->to_, 0, bytes, 2));
    probe->choose_orders();
    return std::unique_ptr<BandwidthProbe>(std::move(probe));
  }

  size_t bytes() const override { return bytes_; }
  Result<double> read_rate() override { return read(read_order_); }
  Result<double> copy_rate() override { return copy(copy_order_); }

 private:
  CpuBandwidthProbe(CpuDevice& device, size_t bytes)
      : loops_(loops_for(device)), pool_(device.pool()), bytes_(bytes) {}

  void choose_orders() {
    double best_read = 0, best_copy = 0;
    for (int round = 0; round < 3; ++round)
      for (const Order order : kOrders) {
        if (const double rate = read(order); rate > best_read)
          best_read = rate, read_order_ = order;
        if (order == Order::kFourRows) continue;
        if (const double rate = copy(order); rate > best_copy)
          best_copy = rate, copy_order_ = order;
      }
  }

  double read(Order order) {
    const double seconds = timed([&](size_t at, size_t bytes) {
      sink_.fetch_add(loops_.read(from_->host_data() + at, bytes, order),
                      std::memory_order_relaxed);
    });
    return static_cast<double>(bytes_) / seconds;
  }
  double copy(Order order) {
    const double seconds = timed([&](size_t at, size_t bytes) {
      loops_.copy(to_->host_data() + at, from_->host_data() + at, bytes, order);
    });
    return 2 * static_cast<double>(bytes_) / seconds;
  }

  /// work(first byte, bytes) on all threads.
  template <class Work>
  double timed(const Work& work) {
    const auto blocks = static_cast<int64_t>(bytes_ / kBlock);
    const int64_t grain = std::max<int64_t>(1, blocks / (pool_.size() * 8));
    const auto start = std::chrono::steady_clock::now();
    pool_.run(0, blocks, grain, [&](int, int64_t begin, int64_t end) {
      work(static_cast<size_t>(begin) * kBlock, static_cast<size_t>(end - begin) * kBlock);
    });
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    return std::max(time.count(), 1e-9);
  }

  const Loops loops_;
  ThreadPool& pool_;
  const size_t bytes_;
  std::unique_ptr<runtime::Buffer> from_, to_;
  Order read_order_ = Order::kLinear, copy_order_ = Order::kLinear;
  std::atomic<uint64_t> sink_{0};
};

}  // namespace

Result<std::unique_ptr<BandwidthProbe>> CpuDevice::bandwidth_probe(
    const BandwidthOptions& options) {
  size_t bytes = options.bytes;
  if (bytes >= BandwidthOptions().bytes)  // smaller ones are asked for by tests
    bytes = std::max(bytes, 4 * static_cast<size_t>(CpuTopology::get().l3_bytes));
  return CpuBandwidthProbe::create(*this, std::max(kBlock, bytes / kBlock * kBlock));
}

}  // namespace tessera::chips::cpu
