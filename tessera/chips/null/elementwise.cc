// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <type_traits>

#include "tessera/chips/null/operations.h"

namespace tessera::chips::null {
namespace {

using lang::Opcode;
using lang::Predicate;

/// Integers wrap: arithmetic goes through the unsigned type.
template <class T, class F>
T wrapping(T a, T b, F f) {
  if constexpr (std::is_floating_point_v<T>) {
    return f(a, b);
  } else {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(f(static_cast<U>(a), static_cast<U>(b)));
  }
}

template <class T>
T divide(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return a / b;
  } else {
    if (b == 0) return 0;  // undefined in the language
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return wrapping(T{0}, a, std::minus<>());
    return a / b;
  }
}

template <class T>
T remainder(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    TESSERA_UNREACHABLE("rem of f32");
  } else {
    if (b == 0) return 0;  // undefined in the language
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return 0;
    return a % b;
  }
}

template <class T>
T minimum(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  return b < a ? b : a;
}

template <class T>
T maximum(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  return a < b ? b : a;
}

template <class T, class F>
void map(const Value& a, Value& out, F f) {
  const auto x = a.as<T>();
  const auto y = out.as<T>();
  for (size_t i = 0; i < y.size(); ++i) y[i] = f(x[i]);
}

template <class T, class F>
void map(const Value& a, const Value& b, Value& out, F f) {
  const auto x = a.as<T>(), y = b.as<T>();
  const auto z = out.as<T>();
  for (size_t i = 0; i < z.size(); ++i) z[i] = f(x[i], y[i]);
}

/// f takes two operands of any arithmetic type.
template <class F>
void arithmetic(const Value& a, const Value& b, Value& out, F f) {
  visit_arithmetic(out.dtype(),
                   [&]<class T>(T) { map<T>(a, b, out, [&](T x, T y) { return f(x, y); }); });
}

/// f works on bits.
template <class F>
void logic(const Value& a, const Value& b, Value& out, F f) {
  visit_width(out.dtype(), [&]<class T>(T) {
    map<T>(a, b, out, [&](T x, T y) { return static_cast<T>(f(x, y)); });
  });
}

template <class T>
T shift_left(T a, T count) {
  if constexpr (std::is_floating_point_v<T>) {
    TESSERA_UNREACHABLE("shift of f32");
  } else {
    using U = std::make_unsigned_t<T>;
    const bool in_range = static_cast<U>(count) < static_cast<U>(std::numeric_limits<U>::digits);
    return in_range ? static_cast<T>(static_cast<U>(a) << count)
                    : T{0};  // else undefined in the language
  }
}

template <class T>
T shift_right(T a, T count) {
  if constexpr (std::is_floating_point_v<T>) {
    TESSERA_UNREACHABLE("shift of f32");
  } else {
    using U = std::make_unsigned_t<T>;
    const bool in_range = static_cast<U>(count) < static_cast<U>(std::numeric_limits<U>::digits);
    return in_range ? static_cast<T>(a >> count) : T{0};
  }
}

template <class T>
bool holds(Predicate predicate, T a, T b) {
  switch (predicate) {
    case Predicate::kEq: return a == b;
    case Predicate::kNe: return a != b;  // true for NaN
    case Predicate::kLt: return a < b;
    case Predicate::kLe: return a <= b;
    case Predicate::kGt: return a > b;
    default: return a >= b;
  }
}

void evaluate_compare(Predicate predicate, const Value& a, const Value& b, Value& out) {
  const auto result = out.as<uint8_t>();
  const auto run = [&]<class T>(T) {
    const auto x = a.as<T>(), y = b.as<T>();
    for (size_t i = 0; i < result.size(); ++i) result[i] = holds(predicate, x[i], y[i]);
  };
  if (a.dtype() == DType::i1) {
    run(uint8_t{});
  } else {
    visit_arithmetic(a.dtype(), run);
  }
}

void evaluate_select(const Value& condition, const Value& a, const Value& b, Value& out) {
  const auto take_a = condition.as<uint8_t>();
  visit_width(out.dtype(), [&]<class T>(T) {
    const auto x = a.as<T>(), y = b.as<T>();
    const auto z = out.as<T>();
    for (size_t i = 0; i < z.size(); ++i) z[i] = take_a[i] ? x[i] : y[i];
  });
}

void evaluate_not(const Value& x, Value& out) {
  if (out.dtype() == DType::i1) {
    map<uint8_t>(x, out, [](uint8_t v) { return static_cast<uint8_t>(v ^ 1); });
  } else {
    visit_width(out.dtype(),
                [&]<class T>(T) { map<T>(x, out, [](T v) { return static_cast<T>(~v); }); });
  }
}

template <class T>
T absolute(T v) {
  if constexpr (std::is_floating_point_v<T>) return std::fabs(v);
  if constexpr (std::is_unsigned_v<T>) return v;
  return v < 0 ? wrapping(T{0}, v, std::minus<>()) : v;
}

template <class T>
T negate(T v) {
  if constexpr (std::is_floating_point_v<T>) return -v;
  return wrapping(T{0}, v, std::minus<>());
}

/// The functions of one f32.
float function(Opcode op, float x) {
  switch (op) {
    case Opcode::kExp: return std::exp(x);
    case Opcode::kExp2: return std::exp2(x);
    case Opcode::kLog: return std::log(x);
    case Opcode::kLog1p: return std::log1p(x);
    case Opcode::kSqrt: return std::sqrt(x);
    case Opcode::kRsqrt: return 1.0f / std::sqrt(x);
    case Opcode::kSigmoid: return 1.0f / (1.0f + std::exp(-x));
    case Opcode::kSin: return std::sin(x);
    default: return std::cos(x);
  }
}

void evaluate_unary(Opcode op, const Value& x, Value& out) {
  switch (op) {
    case Opcode::kNeg:
      return visit_arithmetic(out.dtype(), [&]<class T>(T) { map<T>(x, out, negate<T>); });
    case Opcode::kAbs:
      return visit_arithmetic(out.dtype(), [&]<class T>(T) { map<T>(x, out, absolute<T>); });
    case Opcode::kNot: return evaluate_not(x, out);
    case Opcode::kCast: return evaluate_cast(x, out);
    case Opcode::kBitcast:
      std::memcpy(out.bytes(), x.bytes(),
                  static_cast<size_t>(out.size()) * element_bytes(out.dtype()));
      return;
    default: return map<float>(x, out, [op](float v) { return function(op, v); });
  }
}

void evaluate_binary(Opcode op, const Value& a, const Value& b, Value& out) {
  switch (op) {
    case Opcode::kAdd:
      return arithmetic(a, b, out, [](auto x, auto y) { return wrapping(x, y, std::plus<>()); });
    case Opcode::kSub:
      return arithmetic(a, b, out, [](auto x, auto y) { return wrapping(x, y, std::minus<>()); });
    case Opcode::kMul:
      return arithmetic(a, b, out,
                        [](auto x, auto y) { return wrapping(x, y, std::multiplies<>()); });
    case Opcode::kDiv: return arithmetic(a, b, out, [](auto x, auto y) { return divide(x, y); });
    case Opcode::kRem: return arithmetic(a, b, out, [](auto x, auto y) { return remainder(x, y); });
    case Opcode::kMin: return arithmetic(a, b, out, [](auto x, auto y) { return minimum(x, y); });
    case Opcode::kMax: return arithmetic(a, b, out, [](auto x, auto y) { return maximum(x, y); });
    case Opcode::kAnd: return logic(a, b, out, std::bit_and<>());
    case Opcode::kOr: return logic(a, b, out, std::bit_or<>());
    case Opcode::kXor: return logic(a, b, out, std::bit_xor<>());
    case Opcode::kShl:
      return arithmetic(a, b, out, [](auto x, auto y) { return shift_left(x, y); });
    default: return arithmetic(a, b, out, [](auto x, auto y) { return shift_right(x, y); });
  }
}

}  // namespace

void evaluate_elementwise(const lang::Node& node, Operands operands, Results results) {
  Value& out = *results[0];
  const Opcode op = node.op;
  if (op <= Opcode::kBitcast) return evaluate_unary(op, *operands[0], out);
  if (op < Opcode::kCompare) return evaluate_binary(op, *operands[0], *operands[1], out);
  if (op == Opcode::kCompare)
    return evaluate_compare(static_cast<Predicate>(node.ints[0]), *operands[0], *operands[1], out);
  if (op == Opcode::kSelect) return evaluate_select(*operands[0], *operands[1], *operands[2], out);
  const auto a = operands[0]->as<float>(), b = operands[1]->as<float>(),
             c = operands[2]->as<float>();
  const auto z = out.as<float>();
  for (size_t i = 0; i < z.size(); ++i) z[i] = std::fmaf(a[i], b[i], c[i]);
}

}  // namespace tessera::chips::null
