// SPDX-License-Identifier: Apache-2.0
// Rules of shape operations and control flow.
#include <fmt/format.h>

#include "tessera/lang/type_rules.h"

namespace tessera::lang::rules {

std::string check_axis(const TileType& x, int64_t axis) {
  if (axis >= 0 && axis < x.shape.rank()) return {};
  return fmt::format("axis {} of {}, which has {} dimension{}", axis, x.to_string(), x.shape.rank(),
                     x.shape.rank() == 1 ? "" : "s");
}

std::string expect(const TileType& result, DType dtype, const TileShape& shape) {
  const TileType expected{dtype, shape};
  if (result == expected) return {};
  return fmt::format("result {} where {} is expected", result.to_string(), expected.to_string());
}

namespace {

std::string check_transpose(const NodeTypes& node) {
  const TileType& x = node.operands[0];
  std::string list;
  unsigned seen = 0;
  for (int64_t axis : node.ints) {
    list += (list.empty() ? "" : ", ") + std::to_string(axis);
    if (axis >= 0 && axis < x.shape.rank()) seen |= 1u << axis;
  }
  if (static_cast<int>(node.ints.size()) != x.shape.rank() || seen != (1u << x.shape.rank()) - 1)
    return fmt::format("[{}] is not a permutation of the dimensions of {}", list, x.to_string());
  TileShape shape = x.shape;
  for (int i = 0; i < shape.rank(); ++i) shape.set(i, x.shape[static_cast<int>(node.ints[i])]);
  return expect(node.results[0], x.dtype, shape);
}

std::string check_slice(const NodeTypes& node) {
  const TileType &x = node.operands[0], &result = node.results[0];
  if (std::string text = check_axis(x, node.ints[0]); !text.empty()) return text;
  const int axis = static_cast<int>(node.ints[0]);
  if (result.shape.rank() != x.shape.rank()) return expect(result, x.dtype, x.shape);
  const int64_t start = node.ints[1], extent = result.shape[axis];
  if (start < 0 || extent > x.shape[axis] || start > x.shape[axis] - extent)
    return fmt::format("{} elements from {} of axis {} of {}", extent, start, axis, x.to_string());
  TileShape shape = x.shape;
  shape.set(axis, extent);
  return expect(result, x.dtype, shape);
}

std::string check_concat(const NodeTypes& node) {
  const TileType &a = node.operands[0], &b = node.operands[1];
  if (std::string text = check_axis(a, node.ints[0]); !text.empty()) return text;
  const int axis = static_cast<int>(node.ints[0]);
  TileShape shape = a.shape;
  bool fits = a.dtype == b.dtype && a.shape.rank() == b.shape.rank();
  for (int i = 0; fits && i < shape.rank(); ++i) fits = i == axis || a.shape[i] == b.shape[i];
  if (!fits)
    return fmt::format("{} and {} cannot be joined along axis {}", a.to_string(), b.to_string(),
                       axis);
  shape.set(axis, a.shape[axis] + b.shape[axis]);
  return expect(node.results[0], a.dtype, shape);
}

std::string check_split(const NodeTypes& node) {
  const TileType& x = node.operands[0];
  if (x.shape.rank() == 0 || x.shape.last() < 2)
    return fmt::format("{}; the last extent must be at least 2", x.to_string());
  TileShape half = x.shape;
  half.set(half.rank() - 1, x.shape.last() / 2);
  if (std::string text = expect(node.results[0], x.dtype, half); !text.empty()) return text;
  return expect(node.results[1], x.dtype, half);
}

std::string check_join(const NodeTypes& node) {
  const TileType &even = node.operands[0], &odd = node.operands[1];
  if (!(even == odd)) return fmt::format("{} and {} differ", even.to_string(), odd.to_string());
  if (even.shape.rank() == 0)
    return fmt::format("{} is a scalar; reshape it to [1]", even.to_string());
  TileShape whole = even.shape;
  whole.set(whole.rank() - 1, 2 * whole.last());
  return expect(node.results[0], even.dtype, whole);
}

}  // namespace

std::string check_shape(const NodeTypes& node) {
  const Opcode op = node.op;
  const int operands = op == Opcode::kConcat || op == Opcode::kJoin ? 2 : 1;
  const int ints = op == Opcode::kSlice       ? 2
                   : op == Opcode::kConcat    ? 1
                   : op == Opcode::kTranspose ? -1
                                              : 0;
  if (std::string text = check_counts(node, operands, op == Opcode::kSplit ? 2 : 1, ints);
      !text.empty())
    return text;
  const TileType &x = node.operands[0], &result = node.results[0];
  switch (op) {
    case Opcode::kBroadcast: {
      const auto shape = broadcast_shapes(x.shape, result.shape);
      if (!shape || !(*shape == result.shape))
        return fmt::format("{} does not broadcast to {}", x.to_string(), result.shape.to_string());
      return expect(result, x.dtype, *shape);
    }
    case Opcode::kReshape:
      if (x.shape.numel() != result.shape.numel())
        return fmt::format("{} has {} elements, {} has {}", x.to_string(), x.shape.numel(),
                           result.shape.to_string(), result.shape.numel());
      return expect(result, x.dtype, result.shape);
    case Opcode::kTranspose: return check_transpose(node);
    case Opcode::kSlice: return check_slice(node);
    case Opcode::kConcat: return check_concat(node);
    case Opcode::kSplit: return check_split(node);
    default: return check_join(node);
  }
}

std::string check_control(const NodeTypes& node) {
  if (!node.ints.empty()) return "unexpected attributes";
  if (node.op == Opcode::kIf) {
    if (node.operands.size() != 1) return fmt::format("{} operands", node.operands.size());
    if (!is_scalar(node.operands[0], DType::i1))
      return fmt::format("the condition is {}; it must be an i1 scalar, as comparisons give",
                         node.operands[0].to_string());
    return {};
  }
  if (node.operands.size() != 3 + node.results.size())
    return fmt::format("{} operands", node.operands.size());
  for (int i = 0; i < 3; ++i)
    if (!is_scalar(node.operands[i], DType::i64)) return "bounds are i64 scalars";
  for (size_t i = 0; i < node.results.size(); ++i)
    if (!(node.results[i] == node.operands[3 + i]))
      return fmt::format("carried value {} is {} on entry and {} at the end", i,
                         node.operands[3 + i].to_string(), node.results[i].to_string());
  return {};
}

}  // namespace tessera::lang::rules
