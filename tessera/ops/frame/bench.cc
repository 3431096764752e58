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
  /// As many copies as it takes that `rotate_bytes` are touched before one is touched again, where
  /// a use touches `touched` bytes of its tensors; in want of memory, that many bytes in all.
  static Result<RotatingTensors> create(runtime::Device& device, runtime::Stream& stream,
                                        const CaseData& data, size_t touched, size_t rotate_bytes) {
    RotatingTensors tensors;
    size_t total = 0;
    for (const HostTensor& tensor : data.inputs()) total += padded(tensor);
    const size_t room = static_cast<size_t>(device.memory_free() / 4) / std::max<size_t>(total, 1);
    const size_t wanted = touched > 0 ? std::min(touched, total) : total;
    const auto until = [&](size_t bytes) {
      return bytes == 0 ? 1 : std::max<size_t>(1, (rotate_bytes + bytes - 1) / bytes);
    };
    tensors.cold_ = until(wanted) <= std::min(room, kMaxCopies);
    tensors.copies_ = tensors.cold_ ? until(wanted)
                                    : std::clamp<size_t>(until(total), 1,
                                                         std::clamp<size_t>(room, 1, kMaxCopies));
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

  size_t copies() const { return copies_; }
  /// Whether uses touch less than half of the tensors and too few copies fit to leave the caches.
  bool mostly_idle(double touched) const {
    double bytes = 0;
    for (const size_t stride : strides_) bytes += static_cast<double>(stride);
    return !cold_ && touched > 0 && bytes > 2 * touched;
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
  bool cold_ = false;
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

/// Timed uses of an operator. Many of them run as a model's steps do: replays of a graph, which has
/// one use of each copy of the tensors.
class Uses {
 public:
  static Result<Uses> create(kernels::KernelLibrary& library, const Operator& op,
                             const CaseData& data, double touched, const Ceilings& ceilings,
                             const BenchOptions& options) {
    runtime::Device& device = library.device();
    const size_t rotate =
        std::max(options.rotate_bytes, ceilings.memory ? ceilings.memory->bytes() : 0);
    TESSERA_ASSIGN(
        PreparedOp prepared,
        PreparedOp::prepare(library, op, data.problem(), {.deterministic = options.deterministic}));
    TESSERA_ASSIGN(Timer timer, Timer::create(device));
    TESSERA_ASSIGN(RotatingTensors tensors,
                   RotatingTensors::create(device, timer.stream(), data,
                                           static_cast<size_t>(touched), rotate));
    TESSERA_ASSIGN(auto workspace,
                   device.allocate(static_cast<size_t>(prepared.workspace_bytes())));
    TESSERA_TRY(timer.stream().fill(*workspace, 0, workspace->size(), 0));
    return Uses(std::move(prepared), std::move(timer), std::move(tensors), std::move(workspace));
  }

  const RotatingTensors& tensors() const { return tensors_; }

  /// About as many uses as wanted; from then on this number runs as replays where it holds a use
  /// of each copy.
  Result<int64_t> prepare_for(int64_t times) {
    const auto copies = static_cast<int64_t>(tensors_.copies());
    if (times < copies || times == 1) return times;
    TESSERA_TRY(timer_.stream().begin_capture());
    TESSERA_TRY(queue(timer_.stream(), copies));
    TESSERA_ASSIGN(round_, timer_.stream().end_capture());
    TESSERA_TRY(timer_.stream().replay(*round_));  // the first one is slow
    return times / copies * copies;
  }

  /// Of one use, timed over so many.
  Result<double> seconds_of(int64_t times) {
    const auto run = [&](runtime::Stream& stream) -> Result<void> {
      if (!round_) return queue(stream, times);
      const auto copies = static_cast<int64_t>(tensors_.copies());
      for (int64_t done = 0; done < times; done += copies) TESSERA_TRY(stream.replay(*round_));
      return {};
    };
    TESSERA_ASSIGN(const double elapsed, timer_.time(run));
    return elapsed / static_cast<double>(times);
  }

 private:
  Uses(PreparedOp prepared, Timer timer, RotatingTensors tensors,
       std::unique_ptr<runtime::Buffer> workspace)
      : prepared_(std::move(prepared)),
        timer_(std::move(timer)),
        tensors_(std::move(tensors)),
        workspace_(std::move(workspace)) {}

  Result<void> queue(runtime::Stream& stream, int64_t times) {
    for (int64_t i = 0; i < times; ++i)
      TESSERA_TRY(prepared_.run(stream, tensors_.next(), workspace_->address()));
    return {};
  }

  PreparedOp prepared_;
  Timer timer_;
  RotatingTensors tensors_;
  std::unique_ptr<runtime::Buffer> workspace_;
  std::unique_ptr<runtime::Graph> round_;
};

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
  BenchResult result;
  result.cost = op.cost(data.problem());
  const double flops_rate = compute_rate(op, data.problem(), ceilings);
  result.ceiling = bound_of(result.cost, ceilings, flops_rate);
  const bool by_memory = result.ceiling == "read" || result.ceiling == "copy";
  const double touched = result.cost.bytes_read + result.cost.bytes_written;
  TESSERA_ASSIGN(Uses uses, Uses::create(library, op, data, touched, ceilings, options));
  const bool alone = ceilings.memory && uses.tensors().mostly_idle(touched);

  const auto memory_rate = [&] {
    return result.ceiling == "read" ? ceilings.memory->read_rate() : ceilings.memory->copy_rate();
  };
  TESSERA_ASSIGN(double once, uses.seconds_of(1));  // warms up: code pages, clocks, thread pools
  TESSERA_ASSIGN(once, uses.seconds_of(2));
  const int runs = std::max(1, options.runs);
  const auto times =
      alone ? 1
            : static_cast<int64_t>(std::clamp(
                  std::ceil(options.min_seconds / runs / std::max(once, 1e-7)), 1.0, 1e5));
  TESSERA_ASSIGN(const int64_t timed, uses.prepare_for(times));
  std::vector<double> seconds, shares;
  for (int run = 0; run < runs; ++run) {
    double rate = 0;
    if (ceilings.memory && (by_memory || alone)) {
      TESSERA_ASSIGN(rate, memory_rate());
    }
    TESSERA_ASSIGN(const double once_now, uses.seconds_of(timed));
    seconds.push_back(std::max(once_now, 1e-9));
    if (by_memory && rate > 0) shares.push_back(touched / seconds.back() / rate);
  }
  result.seconds = median(seconds);
  result.fastest = *std::min_element(seconds.begin(), seconds.end());
  result.uses = runs * timed;
  if (!shares.empty())
    result.share = median(shares);
  else if (result.ceiling == "compute")
    result.share = result.cost.flops / flops_rate / result.seconds;
  return result;
}

}  // namespace tessera::ops
