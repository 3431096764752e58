// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "tessera/lang/type_rules.h"

namespace tessera::lang::rules {

std::string check_counts(const NodeTypes& node, int operands, int results, int ints) {
  const auto wrong = [](int wanted, size_t have) {
    return wanted >= 0 && static_cast<size_t>(wanted) != have;
  };
  if (wrong(operands, node.operands.size()))
    return fmt::format("{} operands", node.operands.size());
  if (wrong(results, node.results.size())) return fmt::format("{} results", node.results.size());
  if (wrong(ints, node.ints.size())) return fmt::format("{} attributes", node.ints.size());
  return {};
}

bool is_scalar(const TileType& type, DType dtype) {
  return type.dtype == dtype && type.shape.rank() == 0;
}

std::string require_dtype(const TileType& type, std::initializer_list<DType> allowed) {
  if (std::ranges::find(allowed, type.dtype) != allowed.end()) return {};
  const DType compute = compute_dtype(type.dtype);
  if (!is_arithmetic(type.dtype) && type.dtype != DType::i1 &&
      std::ranges::find(allowed, compute) != allowed.end())
    return fmt::format("{} is a storage type; cast to {} first", type.to_string(), name(compute));
  std::string names;
  for (DType d : allowed) names += (names.empty() ? "" : ", ") + std::string(name(d));
  return fmt::format("{} is not one of {}; cast it first", type.to_string(), names);
}

std::optional<TileShape> broadcast_shapes(const TileShape& a, const TileShape& b) {
  const TileShape& longer = a.rank() >= b.rank() ? a : b;
  const TileShape& shorter = a.rank() >= b.rank() ? b : a;
  TileShape out = longer;
  const int shift = longer.rank() - shorter.rank();
  for (int i = 0; i < shorter.rank(); ++i) {
    const int64_t x = longer[i + shift], y = shorter[i];
    if (x != y && x != 1 && y != 1) return std::nullopt;
    out.set(i + shift, std::max(x, y));
  }
  return out;
}

namespace {

constexpr auto kFloat = {DType::f32};
constexpr auto kInts = {DType::i32, DType::u32, DType::i64};
constexpr auto kNumbers = {DType::f32, DType::i32, DType::u32, DType::i64};
constexpr auto kSigned = {DType::f32, DType::i32, DType::i64};
constexpr auto kLogic = {DType::i1, DType::i32, DType::u32, DType::i64};
constexpr auto kAny = {DType::f32, DType::i32, DType::u32, DType::i64, DType::i1};

std::initializer_list<DType> dtypes_of(Opcode op) {
  switch (op) {
    case Opcode::kAbs: return kSigned;
    case Opcode::kNot:
    case Opcode::kAnd:
    case Opcode::kOr:
    case Opcode::kXor: return kLogic;
    case Opcode::kRem:
    case Opcode::kShl:
    case Opcode::kShr: return kInts;
    case Opcode::kExp:
    case Opcode::kExp2:
    case Opcode::kLog:
    case Opcode::kLog1p:
    case Opcode::kSqrt:
    case Opcode::kRsqrt:
    case Opcode::kSigmoid:
    case Opcode::kSin:
    case Opcode::kCos:
    case Opcode::kFma: return kFloat;
    case Opcode::kCompare:
    case Opcode::kSelect: return kAny;
    default: return kNumbers;
  }
}

std::string check_cast(const TileType& from, const TileType& to) {
  if (to.dtype == DType::i1)
    return fmt::format("{} to i1; compare with 0 instead", from.to_string());
  if (!is_single_cast(from.dtype, to.dtype))
    return fmt::format("{} to {} is not one step", from.to_string(), name(to.dtype));
  return {};
}

std::string check_bitcast(const TileType& from, const TileType& to) {
  for (DType d : {from.dtype, to.dtype})
    if (d == DType::i1 || d == DType::f4e2m1)
      return fmt::format("{} has no bits of its own", name(d));
  if (bits(from.dtype) != bits(to.dtype))
    return fmt::format("{} has {} bits, {} has {}", from.to_string(), bits(from.dtype),
                       name(to.dtype), bits(to.dtype));
  return {};
}

/// Operands from `first` on are of one type.
std::string check_same(const NodeTypes& node, size_t first) {
  for (size_t i = first + 1; i < node.operands.size(); ++i)
    if (node.operands[i].dtype != node.operands[first].dtype)
      return fmt::format("{} and {}; cast one of them", node.operands[first].to_string(),
                         node.operands[i].to_string());
  return {};
}

int operand_count(Opcode op) {
  if (op <= Opcode::kBitcast) return 1;
  return op <= Opcode::kCompare ? 2 : 3;
}

}  // namespace

std::string check_elementwise(const NodeTypes& node) {
  const Opcode op = node.op;
  const bool compare = op == Opcode::kCompare, select = op == Opcode::kSelect;
  if (std::string text = check_counts(node, operand_count(op), 1, compare ? 1 : 0); !text.empty())
    return text;
  const TileType& result = node.results[0];
  for (const TileType& operand : node.operands)
    if (!(operand.shape == result.shape))
      return fmt::format("{} in an operation of shape {}", operand.to_string(),
                         result.shape.to_string());
  if (op == Opcode::kCast) return check_cast(node.operands[0], result);
  if (op == Opcode::kBitcast) return check_bitcast(node.operands[0], result);
  if (select && node.operands[0].dtype != DType::i1)
    return fmt::format("the condition is {}; it must be i1, as comparisons give",
                       node.operands[0].to_string());
  const size_t first = select ? 1 : 0;
  if (std::string text = check_same(node, first); !text.empty()) return text;
  const TileType& x = node.operands[first];
  if (std::string text = require_dtype(x, dtypes_of(op)); !text.empty()) return text;
  if (compare) {
    if (node.ints[0] < 0 || node.ints[0] > static_cast<int64_t>(Predicate::kGe))
      return "unknown predicate";
    if (x.dtype == DType::i1 && node.ints[0] > static_cast<int64_t>(Predicate::kNe))
      return fmt::format("{} has no order; only == and !=", x.to_string());
  }
  const DType expected = compare ? DType::i1 : x.dtype;
  if (result.dtype != expected)
    return fmt::format("result {} where {} is expected", result.to_string(), name(expected));
  return {};
}

}  // namespace tessera::lang::rules
