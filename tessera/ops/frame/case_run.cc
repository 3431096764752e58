// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/case_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "tessera/ops/frame/case_data.h"
#include "tessera/runtime/device.h"

namespace tessera::ops {
namespace {

// Garbage put where nothing may be read. All ones is NaN in every float format that has one.
constexpr uint8_t kPoison[2] = {0xff, 0xa5};

class CaseRun {
 public:
  CaseRun(kernels::KernelLibrary& library, const Operator& op, const CaseData& data)
      : device_(library.device()), op_(op), data_(data) {}

  Result<Comparison> run(const PreparedOp& prepared) {
    TESSERA_TRY(allocate(prepared));
    TESSERA_TRY(reset(kPoison[0]));
    TESSERA_TRY(prepared.run(*stream_, addresses_, workspace_address()));
    TESSERA_TRY(download(first_));
    Comparison result =
        compare_outputs(op_, data_.problem(), data_.inputs(), data_.expected(), first_);
    append(result.wrong, changed_inputs(first_));
    if (!result.wrong.empty()) return result;

    // An operator with its own check may leave parts of its outputs undefined: same garbage, same
    // bits.
    TESSERA_TRY(reset(kPoison[op_.check == nullptr ? 1 : 0]));
    TESSERA_TRY(stream_->begin_capture());
    const auto captured = prepared.run(*stream_, addresses_, workspace_address());
    TESSERA_ASSIGN(const auto graph, stream_->end_capture());
    if (!captured.ok()) return Error(captured.error());
    TESSERA_TRY(stream_->replay(*graph));
    TESSERA_TRY(download(second_));
    append(result.wrong, difference());
    return result;
  }

 private:
  const std::vector<TensorSpec>& specs() const { return op_.signature->tensors; }
  bool present(size_t i) const { return data_.problem().tensors()[i].has_value(); }
  uint64_t workspace_address() const { return workspace_ ? workspace_->address() : 0; }

  static void append(std::string& text, const std::string& more) {
    if (!text.empty() && !more.empty()) text += "; ";
    text += more;
  }

  Result<void> allocate(const PreparedOp& prepared) {
    TESSERA_ASSIGN(stream_, device_.create_stream());
    for (size_t i = 0; i < specs().size(); ++i) {
      buffers_.emplace_back();
      if (present(i)) {
        TESSERA_ASSIGN(buffers_.back(), device_.allocate(data_.inputs()[i].bytes().size()));
      }
      addresses_.push_back(buffers_.back() ? buffers_.back()->address() : 0);
    }
    TESSERA_ASSIGN(workspace_, device_.allocate(static_cast<size_t>(prepared.workspace_bytes())));
    first_ = second_ = data_.inputs();
    return {};
  }

  Result<void> reset(uint8_t poison) {
    for (size_t i = 0; i < specs().size(); ++i) {
      if (!present(i)) continue;
      if (specs()[i].access == Access::kWrite)
        TESSERA_TRY(stream_->fill(*buffers_[i], 0, buffers_[i]->size(), poison));
      else
        TESSERA_TRY(stream_->copy_to_device(*buffers_[i], 0, data_.inputs()[i].bytes()));
    }
    return stream_->fill(*workspace_, 0, workspace_->size(), poison);
  }

  Result<void> download(std::vector<HostTensor>& to) {
    for (size_t i = 0; i < specs().size(); ++i)
      if (present(i)) TESSERA_TRY(stream_->copy_to_host(to[i].bytes(), *buffers_[i], 0));
    return stream_->synchronize();
  }

  std::string changed_inputs(const std::vector<HostTensor>& after) const {
    for (size_t i = 0; i < specs().size(); ++i)
      if (present(i) && specs()[i].access == Access::kRead &&
          after[i].bytes() != data_.inputs()[i].bytes())
        return fmt::format("input {} was overwritten", specs()[i].name);
    return {};
  }

  /// Where the replay differs from the launch.
  std::string difference() const {
    for (size_t i = 0; i < specs().size(); ++i) {
      if (!present(i) || specs()[i].access == Access::kRead) continue;
      const HostTensor &a = first_[i], &b = second_[i];
      if (a.bytes() == b.bytes()) continue;
      for (int64_t e = 0; e < a.numel(); ++e) {
        if (data_.expected()[i].is_any(e)) continue;
        const double x = a.flat(e), y = b.flat(e);
        if (std::memcmp(&x, &y, sizeof x) == 0) continue;
        return fmt::format(
            "{} is not written or not reproducible: {} when launched, {} in a replay after other "
            "garbage",
            element_name(specs()[i].name, a.desc().shape, e), number_text(x), number_text(y));
      }
    }
    return {};
  }

  runtime::Device& device_;
  const Operator& op_;
  const CaseData& data_;
  std::unique_ptr<runtime::Stream> stream_;
  std::vector<std::unique_ptr<runtime::Buffer>> buffers_;  // by tensor
  std::unique_ptr<runtime::Buffer> workspace_;
  std::vector<uint64_t> addresses_;
  std::vector<HostTensor> first_, second_;  // all tensors after the launch and after the replay
};

}  // namespace

Result<Comparison> run_case(kernels::KernelLibrary& library, const Operator& op,
                            const Case& test_case, const PlanOptions& options) {
  TESSERA_ASSIGN(const CaseData data, CaseData::make(op, test_case));
  TESSERA_ASSIGN(const PreparedOp prepared,
                 PreparedOp::prepare(library, op, data.problem(), options));
  return CaseRun(library, op, data).run(prepared);
}

}  // namespace tessera::ops
