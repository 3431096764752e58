// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/verification/against.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/base/element.h"
#include "tessera/model/deepseek_v4/model.h"

namespace tessera::model::deepseek_v4 {
namespace {

constexpr double kF32Error = 2e-5;
constexpr double kShare = 0.02;

struct Written {
  std::string part, op, tensor;
  std::vector<std::byte> bytes;
};

}  // namespace

double OutputDifference::share() const {
  return elements == 0 ? 0 : static_cast<double>(different) / static_cast<double>(elements);
}

double OutputDifference::error() const {
  const double error = std::sqrt(squared_error / squared);
  if (squared_error == 0) return 0;
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

bool OutputDifference::departs() const {
  return dtype == DType::f32 ? error() > kF32Error : share() > kShare;
}

void add_elements(OutputDifference& difference, std::span<const std::byte> actual,
                  std::span<const std::byte> expected) {
  const int64_t count = std::ssize(expected) * 8 / bits(difference.dtype);
  for (int64_t i = 0; i < count; ++i) {
    const double a = load_as_double(difference.dtype, actual.data(), i);
    const double e = load_as_double(difference.dtype, expected.data(), i);
    const bool both_nan = std::isnan(a) && std::isnan(e);
    if ((a == 0 && e == 0) || both_nan) continue;
    ++difference.elements;
    if (a == e) {
      difference.squared += std::isinf(e) ? 0 : e * e;
      continue;
    }
    ++difference.different;
    difference.squared += e * e;
    difference.squared_error += (a - e) * (a - e);
  }
}

OutputDifference& AgainstReference::output(std::string_view part, std::string_view op,
                                           std::string_view tensor) {
  const auto found = std::ranges::find_if(outputs_, [&](const OutputDifference& d) {
    return d.part == part && d.op == op && d.tensor == tensor;
  });
  if (found != outputs_.end()) return *found;
  OutputDifference& added = outputs_.emplace_back();
  added.part = part;
  added.op = op;
  added.tensor = tensor;
  return added;
}

Result<> AgainstReference::step(const Span& span) {
  std::vector<Written> expected;
  TESSERA_TRY(reference_.watched_step(
      span, [&](const WrittenTensor& t, std::span<std::byte> bytes) -> Result<> {
        expected.push_back({std::string(t.part),
                            std::string(t.op),
                            std::string(t.name),
                            {bytes.begin(), bytes.end()}});
        return {};
      }));
  size_t next = 0;
  const auto compare = [&](const WrittenTensor& t, std::span<std::byte> bytes) -> Result<> {
    if (next == expected.size() || expected[next].op != t.op || expected[next].tensor != t.name ||
        expected[next].bytes.size() != bytes.size())
      return unsupported(
          fmt::format("{}: the reference's program has no {} writing {} bytes of {} "
                      "as call {}",
                      t.part, t.op, bytes.size(), t.name, next));
    const Written& reference = expected[next++];
    OutputDifference& difference = output(t.part, t.op, t.name);
    difference.dtype = t.desc.dtype;
    add_elements(difference, bytes, reference.bytes);
    std::ranges::copy(reference.bytes, bytes.begin());
    return {};
  };
  return model_.watched_step(span, compare);
}

std::string AgainstReference::first_part() const {
  const auto found = std::ranges::find_if(outputs_, &OutputDifference::departs);
  return found == outputs_.end() ? std::string() : found->part;
}

}  // namespace tessera::model::deepseek_v4
