// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/bench.h"

#include <algorithm>
#include <cmath>

#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/ops/frame/timing.h"

namespace tessera::ops {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kMaxCopies = 4096;

/// Copies of all tensors of a case on the device, one after the other for each tensor.
class RotatingTensors {
 public:
  static Result<RotatingTensors> create(runtime::Device& device, runtime::Stream& stream,
                                        const CaseData& data, size_t rotate_bytes) {
    RotatingTensors tensors;
    size_t total = 0;
    for (const HostTensor& tensor : data.inputs()) total += padded(tensor);
    const size_t room = std::max(total, static_cast<size_t>(device.memory_free() / 2));
    const size_t wanted = total == 0 ? 1 : (rotate_bytes + total - 1) / total;
    tensors.copies_ =
        std::clamp<size_t>(std::min(wanted, total == 0 ? 1 : room / total), 1, kMaxCopies);
    for (size_t i = 0; i < data.inputs().size(); ++i) {
      const size_t stride = padded(data.inputs()[i]);
      TESSERA_ASSIGN(auto buffer, device.allocate(stride * tensors.copies_));
      TESSERA_TRY(stream.copy_to_device(*buffer, 0, data.inputs()[i].bytes()));
      for (size_t done = 1; done < tensors.copies_; done *= 2) {
        const size_t more = std::min(done, tensors.copies_ - done);
        TESSERA_TRY(stream.copy(*buffer, done * stride, *buffer, 0, more * stride));
      }
      tensors.strides_.push_back(stride);
      tensors.buffers_.push_back(std::move(buffer));
    }
    tensors.addresses_.resize(tensors.buffers_.size());
    TESSERA_TRY(stream.synchronize());
    return tensors;
  }

  /// Bytes of one copy of all tensors.
  double bytes_of_one() const {
    double bytes = 0;
    for (const size_t stride : strides_) bytes += static_cast<double>(stride);
    return bytes;
  }
  /// Addresses of the next copy.
  std::span<const uint64_t> next() {
    for (size_t i = 0; i < buffers_.size(); ++i)
      addresses_[i] = buffers_[i]->address() + turn_ * strides_[i];
    turn_ = (turn_ + 1) % copies_;
    return addresses_;
  }

 private:
  RotatingTensors() = default;
  static size_t padded(const HostTensor& tensor) {
    return (tensor.bytes().size() + kAlignment - 1) / kAlignment * kAlignment;
  }

  size_t copies_ = 1, turn_ = 0;
  std::vector<std::unique_ptr<runtime::Buffer>> buffers_;
  std::vector<size_t> strides_;
  std::vector<uint64_t> addresses_;
};

/// The rate that arithmetic on these types can reach.
double compute_rate(const Operator& op, const Problem& problem, const Ceilings& ceilings) {
  double rate = ceilings.f32_rate;
  for (size_t i = 0; i < problem.tensors().size(); ++i) {
    const auto& desc = problem.tensors()[i];
    if (!desc || op.signature->tensors[i].access == Access::kWrite) continue;
    if (desc->dtype == DType::i8) rate = std::max(rate, ceilings.i8_rate);
    if (is_float(desc->dtype) && bits(desc->dtype) <= 16) rate = std::max(rate, ceilings.bf16_rate);
  }
  return rate;
}

/// What bounds a case: "read" where it reads more than four times what it writes, "copy",
/// "compute".
std::string bound_of(const Cost& cost, const Ceilings& ceilings, double flops_rate) {
  const bool mostly_reads = cost.bytes_read > 4 * cost.bytes_written && ceilings.read_rate > 0;
  const double byte_rate = mostly_reads ? ceilings.read_rate : ceilings.copy_rate;
  const double memory = byte_rate > 0 ? (cost.bytes_read + cost.bytes_written) / byte_rate : 0;
  const double compute = flops_rate > 0 ? cost.flops / flops_rate : 0;
  if (std::max(memory, compute) <= 0) return {};
  return compute > memory ? "compute" : mostly_reads ? "read" : "copy";
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

Result<BenchResult> run_bench(kernels::KernelLibrary& library, const Operator& op,
                              const Case& test_case, const Ceilings& ceilings,
                              const BenchOptions& options) {
  TESSERA_ASSIGN(const CaseData data, CaseData::make(op, test_case, CaseData::Content::kInputs));
  TESSERA_ASSIGN(BenchResult result, run_bench(library, op, data, ceilings, options));
  result.text = case_text(op, test_case);
  return result;
}

Result<BenchResult> run_bench(kernels::KernelLibrary& library, const Operator& op,
                              const CaseData& data, const Ceilings& ceilings,
                              const BenchOptions& options) {
  runtime::Device& device = library.device();
  TESSERA_ASSIGN(
      const PreparedOp prepared,
      PreparedOp::prepare(library, op, data.problem(), {.deterministic = options.deterministic}));
  TESSERA_ASSIGN(Timer timer, Timer::create(device));
  TESSERA_ASSIGN(RotatingTensors tensors,
                 RotatingTensors::create(device, timer.stream(), data,
                                         std::max(options.rotate_bytes,
                                                  ceilings.memory ? ceilings.memory->bytes() : 0)));
  TESSERA_ASSIGN(const auto workspace,
                 device.allocate(static_cast<size_t>(prepared.workspace_bytes())));
  TESSERA_TRY(timer.stream().fill(*workspace, 0, workspace->size(), 0));

  BenchResult result;
  result.cost = op.cost(data.problem());
  const double flops_rate = compute_rate(op, data.problem(), ceilings);
  result.ceiling = bound_of(result.cost, ceilings, flops_rate);
  const bool by_memory = result.ceiling == "read" || result.ceiling == "copy";
  const double touched = result.cost.bytes_read + result.cost.bytes_written;
  const bool sparse = ceilings.memory && touched > 0 && tensors.bytes_of_one() > 2 * touched;

  const auto use = [&](int64_t times) {
    return timer.time([&](runtime::Stream& stream) -> Result<void> {
      for (int64_t i = 0; i < times; ++i)
        TESSERA_TRY(prepared.run(stream, tensors.next(), workspace->address()));
      return {};
    });
  };
  const auto memory_rate = [&] {
    return result.ceiling == "read" ? ceilings.memory->read_rate() : ceilings.memory->copy_rate();
  };
  TESSERA_ASSIGN(double once, use(1));  // warms up: code pages, clocks, thread pools
  TESSERA_ASSIGN(once, use(2));
  once = std::max(once / 2, 1e-7);
  const int runs = std::max(1, options.runs);
  const auto times = sparse ? 1
                            : static_cast<int64_t>(std::clamp(
                                  std::ceil(options.min_seconds / runs / once), 1.0, 1e5));
  std::vector<double> seconds, shares;
  for (int run = 0; run < runs; ++run) {
    double rate = 0;
    if (ceilings.memory && (by_memory || sparse)) {
      TESSERA_ASSIGN(rate, memory_rate());
    }
    TESSERA_ASSIGN(const double elapsed, use(times));
    seconds.push_back(std::max(elapsed / static_cast<double>(times), 1e-9));
    if (by_memory && rate > 0) shares.push_back(touched / seconds.back() / rate);
  }
  result.seconds = median(seconds);
  result.fastest = *std::min_element(seconds.begin(), seconds.end());
  result.uses = runs * times;
  if (!shares.empty())
    result.share = median(shares);
  else if (result.ceiling == "compute")
    result.share = result.cost.flops / flops_rate / result.seconds;
  return result;
}

}  // namespace tessera::ops
