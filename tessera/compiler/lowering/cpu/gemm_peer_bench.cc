// SPDX-License-Identifier: Apache-2.0
// Matrix products against OpenBLAS's sgemm, round by round in turn, so that a noisy machine
// disturbs both alike. Times are those of the processor, not of the wall: other programs do not
// count. OpenBLAS takes its oldest kernels on a processor it does not know: see the core it names,
// and choose another by OPENBLAS_CORETYPE=SkylakeX.
//   gemm_peer_bench [threads 1] [rounds 9]
#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "tessera/compiler/lowering/cpu/dot_test_kernel.h"

extern "C" void openblas_set_num_threads(int);
extern "C" char* openblas_get_corename();

namespace tessera::compiler::cpu {
namespace {

double processorSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Longest time of any thread, each doing `part(index)` for the second time.
double seconds(int threads, const std::function<void(int)>& part) {
  std::vector<double> times(static_cast<size_t>(threads));
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i)
    workers.emplace_back([&, i] {
      part(i);  // pages of a new thread's stack, caches
      const double begin = processorSeconds();
      part(i);
      times[static_cast<size_t>(i)] = processorSeconds() - begin;
    });
  for (std::thread& worker : workers) worker.join();
  return *std::ranges::max_element(times);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Sizes {
  int64_t m, n, k;
};

struct Kind {
  const char* name;
  TestProduct product;
};

std::vector<uint8_t> randomBytes(int64_t count, DType dtype) {
  std::mt19937 random(1);
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(random() % 120);  // finite in every format
    if (dtype == DType::f32 || dtype == DType::bf16) bytes[i] = i % 2 ? 0x3f : bytes[i];
  }
  return bytes;
}

/// GFLOP/s of each round of a kernel, columns split over the threads.
class Contender {
 public:
  Contender(const Kind& kind, const Sizes& s, TestKernel kernel)
      : kernel_(std::move(kernel)),
        sizes_(s),
        product_(kind.product),
        a_(randomBytes(s.m * size_in_bytes(kind.product.a, s.k), kind.product.a)),
        b_(randomBytes(s.n * size_in_bytes(kind.product.b, s.k), kind.product.b)),
        scales_(static_cast<size_t>(std::max(s.m, s.n) * s.k / 32), 125),
        c_(static_cast<size_t>(s.m * s.n)) {}

  void run(int part, int parts) {
    const TestProduct& p = product_;
    const int64_t first = sizes_.n * part / parts, last = sizes_.n * (part + 1) / parts;
    kernel_({a_.data(), size_in_bytes(p.a, sizes_.k), scales_.data(), sizes_.k / 128, b_.data(),
             size_in_bytes(p.b, sizes_.k), scales_.data(), p.bGroup ? sizes_.k / p.bGroup : 0,
             c_.data(), sizes_.n, sizes_.m, first, last, sizes_.k});
  }
  std::vector<double> rates;

 private:
  TestKernel kernel_;
  Sizes sizes_;
  TestProduct product_;
  std::vector<uint8_t> a_, b_, scales_;
  std::vector<float> c_;
};

void compare(const Sizes& s, const TestLevel& level, int threads, int rounds) {
  const std::vector<Kind> kinds = {
      {"f32", {.a = DType::f32, .b = DType::f32, .m = 64, .n = 64, .k = 1024}},
      {"bf16", {.a = DType::bf16, .b = DType::bf16, .m = 64, .n = 64, .k = 1024}},
      {"fp8",
       {.a = DType::f8e4m3,
        .b = DType::f8e4m3,
        .m = 64,
        .n = 64,
        .k = 1024,
        .aGroup = 128,
        .bGroup = 128,
        .bGroupRows = 128}},
      {"fp4",
       {.a = DType::f8e4m3,
        .b = DType::f4e2m1,
        .m = 64,
        .n = 64,
        .k = 1024,
        .aGroup = 128,
        .bGroup = 32}},
  };
  std::vector<Contender> contenders;
  for (const Kind& kind : kinds) {
    auto kernel = TestKernel::compile(kind.product, level);
    if (!kernel.ok()) {
      fmt::print("{}: {}\n", kind.name, kernel.error().to_string());
      return;
    }
    contenders.emplace_back(kind, s, std::move(kernel).value());
  }
  const auto size = [](int64_t x) { return static_cast<size_t>(x); };
  const std::vector<float> a(size(s.m * s.k), 1.5F), b(size(s.n * s.k), 0.5F);
  std::vector<float> c(size(s.m * s.n));
  const double work =
      2e-9 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
  std::vector<double> peer;
  for (int round = 0; round < rounds; ++round) {
    // A thread of OpenBLAS each: its own pool would hide its threads' times.
    const double time = seconds(threads, [&](int part) {
      const int64_t first = s.n * part / threads, columns = s.n * (part + 1) / threads - first;
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, int(s.m), int(columns), int(s.k), 1,
                  a.data(), int(s.k), b.data() + first * s.k, int(s.k), 0, c.data() + first,
                  int(s.n));
    });
    peer.push_back(work / time);
    for (Contender& contender : contenders)
      contender.rates.push_back(work /
                                seconds(threads, [&](int part) { contender.run(part, threads); }));
  }
  fmt::print("M {} N {} K {}, {} threads: OpenBLAS sgemm {:.0f} GFLOP/s", s.m, s.n, s.k, threads,
             median(peer));
  for (size_t i = 0; i < contenders.size(); ++i) {
    std::vector<double> shares;
    for (size_t r = 0; r < peer.size(); ++r) shares.push_back(contenders[i].rates[r] / peer[r]);
    fmt::print("; {} {:.0f} ({:.2f}x)", kinds[i].name, median(contenders[i].rates), median(shares));
  }
  fmt::print("\n");
}

}  // namespace
}  // namespace tessera::compiler::cpu

int main(int count, char** arguments) {
  using namespace tessera::compiler::cpu;
  const int threads = count > 1 ? std::atoi(arguments[1]) : 1;
  const int rounds = count > 2 ? std::atoi(arguments[2]) : 9;
  openblas_set_num_threads(1);
  const TestLevel* best = nullptr;
  for (const TestLevel& level : testLevels())
    if (level.runsHere) best = &level;
  fmt::print("level {}, OpenBLAS for {}\n", best->name, openblas_get_corename());
  for (const Sizes& sizes : std::vector<Sizes>{
           {256, 1024, 1024}, {1024, 1024, 1024}, {64, 2048, 4096}, {512, 4096, 2048}})
    compare(sizes, *best, threads, rounds);
}
