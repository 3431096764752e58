// SPDX-License-Identifier: Apache-2.0
// Host time of a launch: cuLaunchKernel as it is, our path, and our path into a graph whose replay
// is timed too. The kernel does nothing and takes as many arguments as a product of matrices. The
// two take turns, so that a machine whose clock moves treats both alike.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "tessera/chips/cuda/cubin.h"
#include "tessera/chips/cuda/executable.h"
#include "tessera/chips/cuda/stream.h"

namespace tessera::chips::cuda {
namespace {

constexpr uint32_t kSlots = 24;
constexpr int kLaunches = 200;  // far fewer than the driver queues before it waits

runtime::KernelImage empty_kernel() {
  std::string text = ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry empty(\n";
  for (uint32_t i = 0; i < kSlots + kHiddenSlots; ++i)
    text += std::string(i == 0 ? "" : ",\n") + ".param .u64 p" + std::to_string(i);
  text += ")\n{ ret; }\n";
  runtime::KernelImage image;
  image.format = kPtx;
  image.entry = "empty";
  image.code.resize(text.size());
  std::memcpy(image.code.data(), text.data(), text.size());
  image.slot_count = kSlots;
  image.workgroup_size = 128;
  return image;
}

struct Setup {
  explicit Setup(std::unique_ptr<runtime::Device> opened)
      : device(std::move(opened)),
        stream(device->create_stream().value()),
        kernel(device->load(empty_kernel()).value()) {}

  double microseconds(const auto& launch) const {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kLaunches; ++i) launch();
    const std::chrono::duration<double, std::micro> taken =
        std::chrono::steady_clock::now() - start;
    stream->synchronize().value();
    return taken.count() / kLaunches;
  }

  void raw() {
    void* parameters[kSlots + kHiddenSlots];
    for (auto& parameter : parameters) parameter = &slots[0];
    auto& cuda = static_cast<CudaStream&>(*stream);
    const auto& executable = static_cast<CudaExecutable&>(*kernel);
    benchmark::DoNotOptimize(static_cast<CudaDevice&>(*device).driver().launch(
        executable.function(), 1, 1, 1, 128, 1, 1, 0, static_cast<CUstream>(cuda.native_handle()),
        parameters, nullptr));
  }
  void ours() { benchmark::DoNotOptimize(stream->launch(*kernel, {1}, slots).ok()); }

  std::unique_ptr<runtime::Device> device;
  std::unique_ptr<runtime::Stream> stream;
  std::shared_ptr<runtime::Executable> kernel;
  std::vector<uint64_t> slots = std::vector<uint64_t>(kSlots);
};

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
  return values[values.size() / 2];
}

void launch(benchmark::State& state) {
  auto found = devices({});
  if (!found.ok() || found->empty()) {
    state.SkipWithError("no CUDA device here");
    return;
  }
  Setup setup(std::move((*found)[0]));
  setup.stream->begin_capture().value();
  for (int i = 0; i < kLaunches; ++i) setup.ours();
  const auto graph = setup.stream->end_capture().value();
  std::vector<double> raw, ours, replay;
  for (auto _ : state) {
    raw.push_back(setup.microseconds([&] { setup.raw(); }));
    ours.push_back(setup.microseconds([&] { setup.ours(); }));
    const auto start = std::chrono::steady_clock::now();
    setup.stream->replay(*graph).value();
    setup.stream->synchronize().value();
    const std::chrono::duration<double, std::micro> taken =
        std::chrono::steady_clock::now() - start;
    replay.push_back(taken.count() / kLaunches);
  }
  state.counters["raw_us"] = median(raw);
  state.counters["ours_us"] = median(ours);
  state.counters["node_us"] = median(replay);  // device time too
}
BENCHMARK(launch)->Iterations(200)->UseRealTime();

}  // namespace
}  // namespace tessera::chips::cuda
