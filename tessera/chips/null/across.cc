// SPDX-License-Identifier: Apache-2.0
// Reductions, scans, look-ups, sort and random bits.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <type_traits>

#include "tessera/base/philox.h"
#include "tessera/chips/null/operations.h"

namespace tessera::chips::null {
namespace {

using lang::Opcode;
using lang::Reduction;

template <class T>
bool is_nan(T v) {
  if constexpr (std::is_floating_point_v<T>) return std::isnan(v);
  return false;
}

template <class T>
T sum(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return a + b;
  } else {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  }
}

template <class T>
T combine(Reduction reduction, T a, T b) {
  if (reduction == Reduction::kSum) return sum(a, b);
  if (is_nan(a)) return a;
  if (is_nan(b)) return b;
  return reduction == Reduction::kMax ? std::max(a, b) : std::min(a, b);
}

/// Index of the best of x[0], x[step], ..; the first of equals, numbers before NaN.
template <class T>
int32_t best_index(Reduction reduction, const T* x, int64_t n, int64_t step) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i) {
    const T a = x[i * step], b = x[best * step];
    const bool better = is_nan(b) ? !is_nan(a) : reduction == Reduction::kArgMax ? a > b : a < b;
    if (better) best = i;
  }
  return static_cast<int32_t>(best);
}

template <class T>
void reduce(const lang::Node& node, const Value& x, Value& out) {
  const AxisView view(x.shape(), static_cast<int>(node.ints[0]));
  const auto reduction = static_cast<Reduction>(node.ints[1]);
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < view.inner; ++i) {
      const T* first = x.as<T>().data() + o * view.extent * view.inner + i;
      const size_t to = static_cast<size_t>(o * view.inner + i);
      if (reduction >= Reduction::kArgMax) {
        out.as<int32_t>()[to] = best_index(reduction, first, view.extent, view.inner);
        continue;
      }
      T total = *first;
      for (int64_t n = 1; n < view.extent; ++n)
        total = combine(reduction, total, first[n * view.inner]);
      out.as<T>()[to] = total;
    }
}

template <class T>
void scan(const lang::Node& node, const Value& x, Value& out) {
  const AxisView view(x.shape(), static_cast<int>(node.ints[0]));
  const auto in = x.as<T>();
  const auto to = out.as<T>();
  for (size_t i = 0; i < in.size(); ++i) {
    const bool first = static_cast<int64_t>(i) / view.inner % view.extent == 0;
    to[i] = first ? in[i] : sum(to[i - static_cast<size_t>(view.inner)], in[i]);
  }
}

template <class T>
void take(const Value& x, const Value& index, Value& out) {
  const int64_t n = x.shape().last(), m = index.shape().last();
  const auto in = x.as<T>();
  const auto to = out.as<T>();
  for (size_t i = 0; i < to.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / m, at = index.as<int32_t>()[i];
    to[i] = at >= 0 && at < n ? in[static_cast<size_t>(row * n + at)] : T{0};
  }
}

void histogram(Operands operands, Value& out) {
  const auto x = operands[0]->as<int32_t>();
  const auto bins = out.as<int32_t>();
  std::ranges::fill(bins, 0);
  for (size_t i = 0; i < x.size(); ++i) {
    const bool counts = operands.size() < 2 || operands[1]->as<uint8_t>()[i] != 0;
    if (counts && x[i] >= 0 && static_cast<size_t>(x[i]) < bins.size())
      ++bins[static_cast<size_t>(x[i])];
  }
}

template <class T>
void sort(bool descending, const Value& key, const Value& value, Value& keys, Value& values) {
  const size_t n = static_cast<size_t>(key.shape().last());
  std::vector<size_t> order(n);
  for (size_t row = 0; row < static_cast<size_t>(key.size()); row += n) {
    const auto k = key.as<T>().subspan(row, n);
    const auto v = value.as<int32_t>().subspan(row, n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, [&](size_t a, size_t b) {
      if (is_nan(k[a]) != is_nan(k[b])) return is_nan(k[b]);
      if (k[a] != k[b] && !is_nan(k[a])) return descending ? k[a] > k[b] : k[a] < k[b];
      return v[a] < v[b];
    });
    for (size_t i = 0; i < n; ++i) {
      keys.as<T>()[row + i] = k[order[i]];
      values.as<int32_t>()[row + i] = v[order[i]];
    }
  }
}

void lookup(const lang::Node& node, const Value& code, Value& out) {
  const auto to = out.as<float>();
  for (size_t i = 0; i < to.size(); ++i) {
    const int64_t c = code.dtype() == DType::u8 ? code.as<uint8_t>()[i] : code.as<int32_t>()[i];
    to[i] = std::bit_cast<float>(static_cast<uint32_t>(node.ints[static_cast<size_t>(c & 15)]));
  }
}

void random_bits(const Value& counter, const Value& seed, Value& out) {
  const auto key = static_cast<uint64_t>(seed.index());
  const auto to = out.as<uint32_t>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = philox_bits(counter.as<uint32_t>()[i], key);
}

}  // namespace

void evaluate_across(const lang::Node& node, Operands operands, Results results) {
  const Value& x = *operands[0];
  Value& out = *results[0];
  switch (node.op) {
    case Opcode::kReduce:
      return visit_arithmetic(x.dtype(), [&]<class T>(T) { reduce<T>(node, x, out); });
    case Opcode::kScan:
      return visit_arithmetic(x.dtype(), [&]<class T>(T) { scan<T>(node, x, out); });
    case Opcode::kTake:
      return visit_arithmetic(x.dtype(), [&]<class T>(T) { take<T>(x, *operands[1], out); });
    case Opcode::kHistogram: return histogram(operands, out);
    case Opcode::kSort:
      return visit_arithmetic(x.dtype(), [&]<class T>(T) {
        sort<T>(node.ints[0] != 0, x, *operands[1], out, *results[1]);
      });
    case Opcode::kLookup: return lookup(node, x, out);
    case Opcode::kRandomBits: return random_bits(x, *operands[1], out);
    case Opcode::kDot: return evaluate_dot(node, operands, out);
    default: return evaluate_dot_scaled(node, operands, out);
  }
}

}  // namespace tessera::chips::null
