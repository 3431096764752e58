// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cuda/stream.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/chips/cuda/executable.h"

namespace tessera::chips::cuda {
namespace {

using runtime::Buffer;
using runtime::Event;
using runtime::Executable;
using runtime::Graph;
using runtime::Grid;

constexpr unsigned kNonBlockingStream = 1;
constexpr int kThreadLocalCapture = 1;
constexpr unsigned kInPlaceOfOthers = 1;  // of nodes to wait for
constexpr uint32_t kMostAcross = 65535;   // blocks along y and z

}  // namespace

Result<std::unique_ptr<Event>> CudaEvent::create(CudaDevice& device) {
  TESSERA_TRY(device.enter());
  CUevent event = nullptr;
  TESSERA_TRY(device.driver().check(device.driver().event_create(&event, 0), "cuEventCreate"));
  return std::unique_ptr<Event>(new CudaEvent(device, event));
}

CudaEvent::~CudaEvent() { driver().event_destroy(event_); }

Result<bool> CudaEvent::query() {
  const CUresult status = driver().event_query(event_);
  if (status == kNotReady) return false;
  TESSERA_TRY(driver().check(status, "cuEventQuery"));
  return true;
}

Result<void> CudaEvent::synchronize() {
  return driver().check(driver().event_synchronize(event_), "cuEventSynchronize");
}

Result<double> CudaEvent::elapsed_ms_since(Event& start) {
  if (&start.device() != &device())
    return invalid_argument("elapsed time between events of two devices");
  auto& first = static_cast<CudaEvent&>(start);
  if (!recorded_ || !first.recorded_)
    return invalid_argument("elapsed time of an event that was never recorded");
  float milliseconds = 0;
  TESSERA_TRY(driver().check(driver().event_elapsed(&milliseconds, first.event_, event_),
                             "cuEventElapsedTime"));
  return static_cast<double>(milliseconds);
}

CudaGraph::~CudaGraph() {
  static_cast<CudaDevice&>(device()).driver().graph_exec_destroy(executable_);
}

Result<std::unique_ptr<runtime::Stream>> CudaStream::create(CudaDevice& device) {
  TESSERA_TRY(device.enter());
  CUstream stream = nullptr;
  TESSERA_TRY(device.driver().check(device.driver().stream_create(&stream, kNonBlockingStream),
                                    "cuStreamCreate"));
  return std::unique_ptr<runtime::Stream>(new CudaStream(device, stream));
}

CudaStream::~CudaStream() {
  if (!cuda_.enter().ok()) return;
  if (capturing()) (void)end_capture();  // an abandoned capture never runs
  cuda_.driver().stream_synchronize(stream_);
  cuda_.driver().stream_destroy(stream_);
}

Result<void> CudaStream::do_copy_to_device(Buffer& to, size_t offset,
                                           std::span<const std::byte> from) {
  TESSERA_TRY(cuda_.enter());
  // From pageable memory the driver stages the bytes before it returns, so `from` may be reused.
  return check(
      cuda_.driver().copy_to_device(to.address() + offset, from.data(), from.size(), stream_),
      "copy to the device");
}

Result<void> CudaStream::do_copy_to_host(std::span<std::byte> to, const Buffer& from,
                                         size_t offset) {
  TESSERA_TRY(cuda_.enter());
  return check(cuda_.driver().copy_to_host(to.data(), from.address() + offset, to.size(), stream_),
               "copy to the host");
}

Result<void> CudaStream::do_copy(Buffer& to, size_t to_offset, const Buffer& from,
                                 size_t from_offset, size_t bytes) {
  TESSERA_TRY(cuda_.enter());
  return check(
      cuda_.driver().copy(to.address() + to_offset, from.address() + from_offset, bytes, stream_),
      "copy on the device");
}

Result<void> CudaStream::do_fill(Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                                 uint32_t pattern_bytes) {
  TESSERA_TRY(cuda_.enter());
  const CUdeviceptr to = buffer.address() + offset;
  return check(pattern_bytes == 1 ? cuda_.driver().fill_bytes(
                                        to, static_cast<unsigned char>(pattern), bytes, stream_)
                                  : cuda_.driver().fill_words(to, pattern, bytes / 4, stream_),
               "fill");
}

Result<void> CudaStream::do_launch(Executable& executable, Grid grid,
                                   std::span<const uint64_t> slots) {
  auto& kernel = static_cast<CudaExecutable&>(executable);
  const int64_t programs = grid.programs();
  uint64_t hidden[kHiddenSlots] = {grid.x | (uint64_t{grid.y} << 32),
                                   static_cast<uint64_t>(programs)};
  void* parameters[kMaxSlots + kMaxTensorMaps];
  for (size_t i = 0; i < slots.size(); ++i) parameters[i] = const_cast<uint64_t*>(&slots[i]);
  for (size_t i = 0; i < kHiddenSlots; ++i) parameters[slots.size() + i] = &hidden[i];
  TESSERA_TRY(cuda_.enter());
  TensorMap maps[kMaxTensorMaps];
  void** next = parameters + slots.size() + kHiddenSlots;
  for (size_t i = 0; const TensorMapForm& form : kernel.tensor_maps()) {
    TESSERA_TRY(encode(cuda_.driver(), form, slots, maps[i]));
    *next++ = &maps[i++];
  }
  if (capturing()) captured_kernels_.push_back(executable.shared_from_this());
  // A launch that does not have the grid's shape is a line.
  const bool shaped =
      programs <= kernel.most_blocks() && grid.y <= kMostAcross && grid.z <= kMostAcross;
  if (!shaped) grid = {static_cast<uint32_t>(std::min(programs, kernel.most_blocks())), 1, 1};
  return check(cuda_.driver().launch(kernel.function(), grid.x, grid.y, grid.z, kernel.threads(), 1,
                                     1, kernel.shared_bytes(), stream_, parameters, nullptr),
               "kernel launch");
}

Result<void> CudaStream::do_record(Event& event) {
  auto& cuda_event = static_cast<CudaEvent&>(event);
  TESSERA_TRY(check(cuda_.driver().event_record(cuda_event.event_, stream_), "cuEventRecord"));
  cuda_event.recorded_ = true;
  return {};
}

Result<void> CudaStream::do_wait(Event& event) {
  return check(cuda_.driver().stream_wait(stream_, static_cast<CudaEvent&>(event).event_, 0),
               "cuStreamWaitEvent");
}

Result<void> CudaStream::do_synchronize() {
  TESSERA_TRY(cuda_.enter());
  return check(cuda_.driver().stream_synchronize(stream_), "synchronize");
}

Result<void> CudaStream::do_begin_capture() {
  TESSERA_TRY(cuda_.enter());
  captured_kernels_.clear();
  step_ends_.clear();
  in_step_ = false;
  return check(cuda_.driver().capture_begin(stream_, kThreadLocalCapture), "cuStreamBeginCapture");
}

Result<std::vector<CUgraphNode>> CudaStream::last_captured() const {
  int status = 0;
  const CUgraphNode* nodes = nullptr;
  size_t count = 0;
  TESSERA_TRY(check(cuda_.driver().capture_info(stream_, &status, nullptr, nullptr, &nodes, &count),
                    "cuStreamGetCaptureInfo"));
  return std::vector<CUgraphNode>(nodes, nodes + count);
}

Result<void> CudaStream::begin_step(std::span<const uint32_t> after) {
  if (!capturing()) return invalid_argument("begin_step: this stream is not capturing");
  const size_t number = step_ends_.size() + (in_step_ ? 1 : 0);
  for (const uint32_t step : after)
    if (step >= number)
      return invalid_argument(fmt::format("begin_step: step {} waits for step {}", number, step));
  if (in_step_) {
    TESSERA_ASSIGN(std::vector<CUgraphNode> end, last_captured());
    step_ends_.push_back(std::move(end));
  }
  std::vector<CUgraphNode> nodes;
  for (const uint32_t step : after)
    nodes.insert(nodes.end(), step_ends_[step].begin(), step_ends_[step].end());
  std::ranges::sort(nodes);
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  in_step_ = true;
  return check(cuda_.driver().capture_after(stream_, nodes.data(), nodes.size(), kInPlaceOfOthers),
               "cuStreamUpdateCaptureDependencies");
}

Result<std::unique_ptr<Graph>> CudaStream::do_end_capture() {
  const Driver& driver = cuda_.driver();
  CUgraph graph = nullptr;
  TESSERA_TRY(check(driver.capture_end(stream_, &graph), "cuStreamEndCapture"));
  size_t nodes = 0;
  CUgraphExec executable = nullptr;
  auto built = check(driver.graph_nodes(graph, nullptr, &nodes), "cuGraphGetNodes");
  if (built.ok())
    built = check(driver.graph_instantiate(&executable, graph, 0), "cuGraphInstantiate");
  driver.graph_destroy(graph);
  if (!built.ok()) return built.error();
  return std::unique_ptr<Graph>(
      std::make_unique<CudaGraph>(cuda_, executable, nodes, std::move(captured_kernels_)));
}

Result<void> CudaStream::do_replay(Graph& graph) {
  TESSERA_TRY(cuda_.enter());
  return check(cuda_.driver().graph_launch(static_cast<CudaGraph&>(graph).executable(), stream_),
               "graph replay");
}

}  // namespace tessera::chips::cuda
