// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/base/element.h"

namespace tessera::ops {
namespace {

struct FloatLimits {
  int mantissa_bits, min_exponent;
  double saturation;  // values beyond become this; infinity: they do not
};

FloatLimits limits_of(DType dtype) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  switch (dtype) {
    case DType::f64: return {52, -1022, kNone};
    case DType::bf16: return {7, -126, kNone};
    case DType::f16: return {10, -14, kNone};
    case DType::f8e4m3: return {3, -6, 448};
    case DType::f8e5m2: return {2, -14, 57344};
    case DType::f8e8m0: return {0, -127, 0x1p127};
    case DType::f4e2m1: return {1, 0, 6};
    default: return {23, -126, kNone};
  }
}

double rounded(DType dtype, double value) {
  std::byte bytes[8] = {};
  store_from_double(dtype, bytes, 0, value);
  return load_as_double(dtype, bytes, 0);
}

/// One output tensor.
class TensorComparison {
 public:
  TensorComparison(const TensorSpec& spec, const Expected& expected, const HostTensor& actual,
                   const Tolerance& tolerance)
      : spec_(spec), expected_(expected), actual_(actual), tolerance_(tolerance) {}

  Comparison run() {
    const int64_t count = actual_.numel();
    for (int64_t e = 0; e < count; ++e)
      if (!expected_.is_any(e)) element(e);
    const auto may_be_off =
        static_cast<int64_t>(std::ceil(tolerance_.one_step_share * static_cast<double>(count)));
    if (wrong_ == 0 && one_step_off_ > may_be_off)
      result_.wrong = fmt::format("{}; {} of {} elements are one step off, {} may be",
                                  first_one_step_, one_step_off_, count, may_be_off);
    else if (wrong_ > 0)
      result_.wrong = fmt::format("{}; {} of {} elements are wrong", first_wrong_, wrong_, count);
    return std::move(result_);
  }

 private:
  void element(int64_t e) {
    if (!expected_.is_set(e)) return report(wrong_, first_wrong_, e, "the reference never sets it");
    const double want = expected_.value(e), got = actual_.flat(e);
    const DType dtype = actual_.dtype();
    const double rounded_want = rounded(dtype, want);
    if (got == rounded_want || (std::isnan(got) && std::isnan(rounded_want))) return;
    const auto values = [&](std::string_view rest) {
      return fmt::format("got {}, want {}{}", number_text(got), number_text(want), rest);
    };
    if (!std::isfinite(got) || !std::isfinite(rounded_want)) {
      result_.worst = std::numeric_limits<double>::infinity();
      return report(wrong_, first_wrong_, e, values(std::isnan(got) ? " (never written?)" : ""));
    }
    if (is_int(dtype)) {
      if (tolerance_.one_step_share > 0 && std::abs(got - rounded_want) == 1)
        return report(one_step_off_, first_one_step_, e, values(""));
      result_.worst = std::numeric_limits<double>::infinity();
      return report(wrong_, first_wrong_, e, values(""));
    }
    const double magnitude = expected_.magnitude(e) > 0 ? expected_.magnitude(e) : std::abs(want);
    const double step = step_at(dtype, std::max(std::abs(rounded_want), std::abs(got)));
    const double allowed =
        tolerance_.absolute + tolerance_.relative * std::abs(want) + tolerance_.scaled * magnitude;
    const double target =
        std::clamp(want, -limits_of(dtype).saturation, limits_of(dtype).saturation);
    // The final rounding, half the distance between `got` and its neighbour towards the target, is
    // no error.
    const double inner =
        std::abs(target) > std::abs(got) ? std::abs(got) : std::nextafter(std::abs(got), 0.0);
    const double rounding = step_at(dtype, inner) / 2;
    const double error = std::max(0.0, std::abs(got - target) - rounding);
    const double units = error == 0 ? 0 : error / allowed;
    if (units > 1 && tolerance_.one_step_share > 0 && std::abs(got - rounded_want) <= step)
      return report(one_step_off_, first_one_step_, e, values(""));
    result_.worst = std::max(result_.worst, units);
    if (units > 1)
      report(wrong_, first_wrong_, e,
             values(fmt::format(", off by {:.3g} where {:.3g} is allowed", std::abs(got - target),
                                allowed + rounding)));
  }

  void report(int64_t& count, std::string& first, int64_t e, const std::string& what) {
    if (count++ == 0)
      first = fmt::format("{}: {}", element_name(spec_.name, actual_.desc().shape, e), what);
  }

  const TensorSpec& spec_;
  const Expected& expected_;
  const HostTensor& actual_;
  const Tolerance& tolerance_;
  Comparison result_;
  int64_t wrong_ = 0, one_step_off_ = 0;
  std::string first_wrong_, first_one_step_;
};

}  // namespace

double step_at(DType dtype, double value) {
  if (is_int(dtype)) return 1;
  const FloatLimits limits = limits_of(dtype);
  int exponent = limits.min_exponent;
  if (value != 0) exponent = std::max(exponent, std::ilogb(value));
  return std::ldexp(1.0, exponent - limits.mantissa_bits);
}

std::string number_text(double value) {
  return std::isnan(value) ? std::string("nan") : fmt::format("{:.9g}", value);  // never "-nan"
}

std::string element_name(std::string_view tensor, const Shape& shape, int64_t element) {
  std::vector<int64_t> index(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    index[d] = element % shape[static_cast<int>(d)];
    element /= shape[static_cast<int>(d)];
  }
  return fmt::format("{}[{}]", tensor, fmt::join(index, ", "));
}

Comparison compare_outputs(const Operator& op, const Problem& problem,
                           const std::vector<HostTensor>& inputs,
                           const std::vector<Expected>& expected,
                           const std::vector<HostTensor>& actual) {
  Comparison all;
  if (op.check != nullptr) {
    all.wrong = op.check(Check{problem, inputs, expected, actual});
    return all;
  }
  const Tolerance tolerance = op.tolerance(problem);
  const auto& specs = op.signature->tensors;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].access == Access::kRead || !problem.tensors()[i]) continue;
    Comparison one = TensorComparison(specs[i], expected[i], actual[i], tolerance).run();
    all.worst = std::max(all.worst, one.worst);
    if (!one.wrong.empty()) all.wrong += (all.wrong.empty() ? "" : "; ") + one.wrong;
  }
  return all;
}

}  // namespace tessera::ops
