// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/case_run.h"

#include <fmt/format.h>

#include <cstring>

#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/device_run.h"

namespace tessera::ops {
namespace {

// Garbage put where nothing may be read. All ones is NaN in every float format that has one.
constexpr uint8_t kPoison[2] = {0xff, 0xa5};

class CaseRun {
 public:
  CaseRun(const Operator& op, const CaseData& data) : op_(op), data_(data) {}

  Result<Comparison> run(DeviceRun& device) {
    TESSERA_TRY(device.reset(data_.inputs(), kPoison[0]));
    TESSERA_TRY(device.launch());
    TESSERA_ASSIGN(first_, device.download());
    Comparison result =
        compare_outputs(op_, data_.problem(), data_.inputs(), data_.expected(), first_);
    append(result.wrong, changed_inputs());
    if (!result.wrong.empty()) return result;

    // An operator with its own check may leave parts of its outputs undefined: same garbage, same
    // bits.
    TESSERA_TRY(device.reset(data_.inputs(), kPoison[op_.check == nullptr ? 1 : 0]));
    TESSERA_TRY(device.replay());
    TESSERA_ASSIGN(second_, device.download());
    append(result.wrong, difference());
    return result;
  }

 private:
  const std::vector<TensorSpec>& specs() const { return op_.signature->tensors; }
  bool present(size_t i) const { return data_.problem().tensors()[i].has_value(); }

  static void append(std::string& text, const std::string& more) {
    if (!text.empty() && !more.empty()) text += "; ";
    text += more;
  }

  std::string changed_inputs() const {
    for (size_t i = 0; i < specs().size(); ++i)
      if (present(i) && specs()[i].access == Access::kRead &&
          first_[i].bytes() != data_.inputs()[i].bytes())
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

  const Operator& op_;
  const CaseData& data_;
  std::vector<HostTensor> first_, second_;  // all tensors after the launch and after the replay
};

}  // namespace

Result<Comparison> run_case(kernels::KernelLibrary& library, const Operator& op,
                            const Case& test_case, const PlanOptions& options) {
  TESSERA_ASSIGN(const CaseData data, CaseData::make(op, test_case));
  TESSERA_ASSIGN(DeviceRun device, DeviceRun::create(library, op, data.problem(), options));
  return CaseRun(op, data).run(device);
}

}  // namespace tessera::ops
