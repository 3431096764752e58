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

}  // namespace

std::vector<lang::Trace> ceiling_traces(const runtime::Capabilities& capabilities) {
  std::vector<lang::Trace> traces;
  for (Probe& probe : make_probes(capabilities)) traces.push_back(std::move(probe.trace));
  return traces;
}

Result<Ceilings> measure_ceilings(kernels::KernelLibrary& library) {
  Ceilings ceilings;
  TESSERA_ASSIGN(ceilings.memory, library.device().bandwidth_probe({}));
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
