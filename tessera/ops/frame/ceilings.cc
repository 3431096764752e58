// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/ceilings.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/base/log.h"
#include "tessera/lang/kernel_builder.h"
#include "tessera/ops/frame/timing.h"
#include "tessera/runtime/device.h"

namespace tessera::ops {
namespace {

using lang::carry;
using lang::KernelBuilder;
using lang::Tile;
using lang::View;

/// A kernel with an output [programs, width], perhaps two dot operands, and a loop count.
struct Probe {
  lang::Trace trace;
  DType dtype;
  int64_t width;
  double operations;           // of a program and turn
  runtime::DotTile tile = {};  // of a dot
};

constexpr int64_t kProgramsPerUnit = 4;

lang::Divisor divisor(int64_t value) { return value % 128 == 0 ? 128 : value % 16 == 0 ? 16 : 1; }

void add(std::vector<Probe>& probes, Result<lang::Trace> trace, Probe probe) {
  if (!trace.ok()) {
    TESSERA_LOG(warn, "ceiling kernel: {}", trace.error().to_string());
    return;
  }
  probe.trace = std::move(*trace);
  probes.push_back(std::move(probe));
}

/// `Chains` independent accumulators of `width` elements.
template <size_t Chains>
void add_fma(std::vector<Probe>& probes, int64_t width) {
  auto trace =
      lang::trace_kernel(fmt::format("ceiling.fma_{}x{}", Chains, width), [&](KernelBuilder& k) {
        View out = k.view("out", DType::f32, 2, lang::Access::kWrite);
        Tile turns = k.scalar("turns", DType::i64);
        std::array<Tile, Chains> init;
        for (size_t n = 0; n < Chains; ++n)
          init[n] = k.constant(DType::f32, {1, width}, 1.0 + static_cast<double>(n));
        const Tile x = k.constant(DType::f32, {1, width}, 0.5);
        const Tile y = k.constant(DType::f32, {1, width}, 0.25);
        const auto last = k.for_range(0, turns, 1, init, [&](Tile, auto... chain) {
          return carry(lang::fma(chain, x, y)...);
        });
        Tile sum = last[0];
        for (size_t n = 1; n < Chains; ++n) sum = sum + last[n];
        store(out, {k.program_id(0), 0}, sum);
      });
  add(probes, std::move(trace),
      {.trace = {},
       .dtype = DType::f32,
       .width = width,
       .operations = 2.0 * static_cast<double>(Chains) * static_cast<double>(width)});
}

/// Operands come from two small views, as in an operator; they stay in the nearest cache.
void add_dot(std::vector<Probe>& probes, DType dtype, const runtime::DotTile& tile) {
  const DType sum_type = dtype == DType::i8 ? DType::i32 : DType::f32;
  auto trace =
      lang::trace_kernel(fmt::format("ceiling.dot_{}", name(dtype)), [&](KernelBuilder& k) {
        View out = k.view("out", sum_type, 2, lang::Access::kWrite);
        const lang::ViewTraits traits{.extent_divisors = {1, divisor(tile.k)},
                                      .stride_divisors = {divisor(tile.k)}};
        View a = k.view("a", dtype, 2, lang::Access::kRead, traits);
        View b = k.view("b", dtype, 2, lang::Access::kRead, traits);
        Tile turns = k.scalar("turns", DType::i64);
        const auto last = k.for_range(
            0, turns, 1, carry(k.zeros(sum_type, {tile.m, tile.n})), [&](Tile, Tile sum) {
              return carry(
                  dot(load(a, {0, 0}, {tile.m, tile.k}), load(b, {0, 0}, {tile.n, tile.k}), sum));
            });
        store(out, {k.program_id(0), 0}, reduce_max(last[0], 0));
      });
  add(probes, std::move(trace),
      {.trace = {},
       .dtype = dtype,
       .width = tile.n,
       .operations = 2.0 * static_cast<double>(tile.m * tile.n * tile.k),
       .tile = tile});
}

std::vector<Probe> make_probes(const runtime::Capabilities& capabilities) {
  std::vector<Probe> probes;
  const int64_t width = capabilities.vector_tile;
  add_fma<1>(probes, width);
  add_fma<2>(probes, width);
  add_fma<4>(probes, width);
  add_fma<4>(probes, std::max<int64_t>(1, width / 4));
  add_dot(probes, DType::bf16, capabilities.dot(64));
  add_dot(probes, DType::i8, capabilities.dot(64));
  return probes;
}

/// Operations per second.
Result<double> measure(kernels::KernelLibrary& library, const Probe& probe) {
  runtime::Device& device = library.device();
  TESSERA_ASSIGN(const auto executable, library.get(probe.trace));
  const int64_t programs = kProgramsPerUnit * std::max(1, device.info().compute_units);
  TESSERA_ASSIGN(const auto out,
                 device.allocate(static_cast<size_t>(programs * probe.width) * sizeof(float)));
  TESSERA_ASSIGN(Timer timer, Timer::create(device));
  std::vector<uint64_t> slots(probe.trace.slot_count);
  const auto bind = [&](size_t view, const runtime::Buffer& buffer, int64_t rows, int64_t columns) {
    const lang::ViewDecl& decl = probe.trace.views[view];
    slots[decl.address_slot()] = buffer.address();
    slots[decl.extent_slot(0)] = static_cast<uint64_t>(rows);
    slots[decl.extent_slot(1)] = slots[decl.stride_slot(0)] = static_cast<uint64_t>(columns);
  };
  bind(0, *out, programs, probe.width);
  std::unique_ptr<runtime::Buffer> operands[2];
  for (size_t i = 0; probe.trace.views.size() > 1 && i < 2; ++i) {
    const int64_t rows = i == 0 ? probe.tile.m : probe.tile.n;
    const auto bytes = static_cast<size_t>(size_in_bytes(probe.dtype, rows * probe.tile.k)) / 4 * 4;
    TESSERA_ASSIGN(operands[i], device.allocate(bytes));
    const uint32_t ones = probe.dtype == DType::i8 ? 0x01010101 : 0x3f803f80;
    TESSERA_TRY(timer.stream().fill_words(*operands[i], 0, bytes, ones));
    bind(i + 1, *operands[i], rows, probe.tile.k);
  }
  const runtime::Grid grid{static_cast<uint32_t>(programs)};
  double best = 0;
  for (int64_t turns = 16; turns < int64_t{1} << 32; turns *= 4) {
    slots[probe.trace.scalars[0].slot] = static_cast<uint64_t>(turns);
    double seconds = 0;
    for (int repeat = 0; repeat < 3; ++repeat) {
      TESSERA_ASSIGN(seconds, timer.time([&](runtime::Stream& stream) {
        return stream.launch(*executable, grid, slots);
      }));
      if (seconds > 0)
        best = std::max(best, probe.operations * static_cast<double>(turns) *
                                  static_cast<double>(programs) / seconds);
    }
    if (seconds > 0.02) break;
  }
  return best;
}

/// Reads a large array and writes next to nothing: a program of a grid that fills the chip adds up
/// rows, far apart, in as many sums as a row has elements.
Result<lang::Trace> read_trace(const runtime::Capabilities& capabilities) {
  const int64_t width = capabilities.vector_tile;
  return lang::trace_kernel(fmt::format("ceiling.read_{}", width), [&](KernelBuilder& k) {
    const lang::ViewTraits traits{.extent_divisors = {1, divisor(width)},
                                  .stride_divisors = {divisor(width)}};
    View out = k.view("out", DType::f32, 2, lang::Access::kWrite, traits);
    View in = k.view("in", DType::f32, 2, lang::Access::kRead, traits);
    Tile programs = k.scalar("programs", DType::i64);
    const auto last = k.for_range(
        k.program_id(0), in.extent(0), programs, carry(k.zeros(DType::f32, {1, width})),
        [&](Tile row, Tile sum) { return carry(sum + load(in, {row, 0}, {1, width})); });
    store(out, {k.program_id(0), 0}, last[0]);
  });
}

/// For chips whose own probe has no reads: a kernel's.
class KernelReads final : public runtime::BandwidthProbe {
 public:
  static Result<std::shared_ptr<runtime::BandwidthProbe>> create(
      kernels::KernelLibrary& library, std::shared_ptr<runtime::BandwidthProbe> copies) {
    runtime::Device& device = library.device();
    const int64_t width = device.info().capabilities.vector_tile;
    TESSERA_ASSIGN(const lang::Trace trace, read_trace(device.info().capabilities));
    TESSERA_ASSIGN(Timer timer, Timer::create(device));
    auto probe = std::make_shared<KernelReads>(std::move(copies), std::move(timer));
    TESSERA_ASSIGN(probe->kernel_, library.get(trace));
    const int64_t rows = static_cast<int64_t>(probe->copies_->bytes()) / 4 / width;
    probe->programs_ = kReadersPerUnit * std::max(1, device.info().compute_units);
    TESSERA_ASSIGN(probe->in_, device.allocate(static_cast<size_t>(4 * rows * width)));
    TESSERA_ASSIGN(probe->out_, device.allocate(static_cast<size_t>(4 * probe->programs_ * width)));
    TESSERA_TRY(probe->timer_.stream().fill(*probe->in_, 0, probe->in_->size(), 1));
    probe->slots_.resize(trace.slot_count);
    const auto bind = [&](size_t view, const runtime::Buffer& buffer, int64_t extent) {
      const lang::ViewDecl& decl = trace.views[view];
      probe->slots_[decl.address_slot()] = buffer.address();
      probe->slots_[decl.extent_slot(0)] = static_cast<uint64_t>(extent);
      probe->slots_[decl.extent_slot(1)] = probe->slots_[decl.stride_slot(0)] =
          static_cast<uint64_t>(width);
    };
    bind(0, *probe->out_, probe->programs_);
    probe->slots_[trace.scalars[0].slot] = static_cast<uint64_t>(probe->programs_);
    // A few rows first: the first launch is slow, and an interpreter always is.
    const int64_t few = std::min(rows, kFewRows);
    bind(1, *probe->in_, few);
    double seconds = 0;
    for (int repeat = 0; repeat < 2; ++repeat) {
      TESSERA_ASSIGN(seconds, probe->seconds());
    }
    if (seconds * static_cast<double>(rows) > kMostSeconds * static_cast<double>(few))
      return unsupported("an array takes too long");
    bind(1, *probe->in_, rows);
    return std::shared_ptr<runtime::BandwidthProbe>(std::move(probe));
  }
  KernelReads(std::shared_ptr<runtime::BandwidthProbe> copies, Timer timer)
      : copies_(std::move(copies)), timer_(std::move(timer)) {}

  size_t bytes() const override { return copies_->bytes(); }
  Result<double> copy_rate() override { return copies_->copy_rate(); }
  Result<double> read_rate() override {
    TESSERA_ASSIGN(const double taken, seconds());
    return taken > 0 ? static_cast<double>(in_->size()) / taken : 0.0;
  }

 private:
  Result<double> seconds() {
    return timer_.time([&](runtime::Stream& stream) {
      return stream.launch(*kernel_, {static_cast<uint32_t>(programs_)}, slots_);
    });
  }

  static constexpr int64_t kFewRows = 4096;
  static constexpr double kMostSeconds = 1;
  static constexpr int64_t kReadersPerUnit = 16;
  const std::shared_ptr<runtime::BandwidthProbe> copies_;
  Timer timer_;
  std::shared_ptr<runtime::Executable> kernel_;
  std::unique_ptr<runtime::Buffer> in_, out_;
  int64_t programs_ = 0;
  std::vector<uint64_t> slots_;
};

/// The chip's own probe, its reads by a kernel where it has none.
Result<std::shared_ptr<runtime::BandwidthProbe>> memory_probe(kernels::KernelLibrary& library) {
  TESSERA_ASSIGN(std::shared_ptr<runtime::BandwidthProbe> own,
                 library.device().bandwidth_probe({}));
  TESSERA_ASSIGN(const double read, own->read_rate());
  if (read > 0) return own;
  auto with_reads = KernelReads::create(library, own);
  if (with_reads.ok()) return with_reads;
  TESSERA_LOG(debug, "reads not measured: {}", with_reads.error().to_string());
  return own;
}

}  // namespace

std::vector<lang::Trace> ceiling_traces(const runtime::Capabilities& capabilities) {
  std::vector<lang::Trace> traces;
  for (Probe& probe : make_probes(capabilities)) traces.push_back(std::move(probe.trace));
  if (auto read = read_trace(capabilities); read.ok()) traces.push_back(std::move(*read));
  return traces;
}

Result<Ceilings> measure_ceilings(kernels::KernelLibrary& library) {
  Ceilings ceilings;
  TESSERA_ASSIGN(ceilings.memory, memory_probe(library));
  for (int repeat = 0; repeat < 3; ++repeat) {
    TESSERA_ASSIGN(const double read, ceilings.memory->read_rate());
    TESSERA_ASSIGN(const double copy, ceilings.memory->copy_rate());
    ceilings.read_rate = std::max(ceilings.read_rate, read);
    ceilings.copy_rate = std::max(ceilings.copy_rate, copy);
  }
  for (const Probe& probe : make_probes(library.device().info().capabilities)) {
    const auto rate = measure(library, probe);
    if (!rate.ok()) {
      TESSERA_LOG(debug, "{} not measured: {}", probe.trace.name, rate.error().to_string());
      continue;
    }
    double& best = probe.dtype == DType::f32    ? ceilings.f32_rate
                   : probe.dtype == DType::bf16 ? ceilings.bf16_rate
                                                : ceilings.i8_rate;
    best = std::max(best, *rate);
  }
  ceilings.bf16_rate = std::max(ceilings.bf16_rate, ceilings.f32_rate);
  ceilings.i8_rate = std::max(ceilings.i8_rate, ceilings.f32_rate);
  return ceilings;
}

}  // namespace tessera::ops
