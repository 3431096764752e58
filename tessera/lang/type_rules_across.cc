// SPDX-License-Identifier: Apache-2.0
// Rules of operations across elements: reductions, sort, dot.
#include <fmt/format.h>

#include "tessera/lang/type_rules.h"

namespace tessera::lang::rules {
namespace {

std::string check_reduce(const NodeTypes& node) {
  const TileType& x = node.operands[0];
  if (std::string text = check_axis(x, node.ints[0]); !text.empty()) return text;
  if (std::string text = require_dtype(x, {DType::f32, DType::i32, DType::u32, DType::i64});
      !text.empty())
    return text;
  if (node.op == Opcode::kScan) return expect(node.results[0], x.dtype, x.shape);
  if (node.ints[1] < 0 || node.ints[1] > static_cast<int64_t>(Reduction::kArgMin))
    return "unknown reduction";
  TileShape shape = x.shape;
  shape.set(static_cast<int>(node.ints[0]), 1);
  const bool index = static_cast<Reduction>(node.ints[1]) >= Reduction::kArgMax;
  return expect(node.results[0], index ? DType::i32 : x.dtype, shape);
}

std::string check_take(const NodeTypes& node) {
  const TileType &x = node.operands[0], &index = node.operands[1];
  if (std::string text = require_dtype(x, {DType::f32, DType::i32, DType::u32, DType::i64});
      !text.empty())
    return text;
  if (index.dtype != DType::i32)
    return fmt::format("the index is {}; it must be i32", index.to_string());
  bool fits = x.shape.rank() > 0 && x.shape.rank() == index.shape.rank();
  for (int i = 0; fits && i + 1 < x.shape.rank(); ++i) fits = x.shape[i] == index.shape[i];
  if (!fits)
    return fmt::format("{} with index {}; all extents but the last must agree", x.to_string(),
                       index.to_string());
  return expect(node.results[0], x.dtype, index.shape);
}

std::string check_histogram(const NodeTypes& node) {
  if (node.operands.empty() || node.operands.size() > 2) return "wrong number of operands";
  const TileType& x = node.operands[0];
  if (x.dtype != DType::i32 || x.shape.rank() != 1)
    return fmt::format("{}; it must be i32 with one dimension", x.to_string());
  if (node.operands.size() == 2 && !(node.operands[1] == TileType{DType::i1, x.shape}))
    return fmt::format("mask {} for {}; it must be i1 of the same shape",
                       node.operands[1].to_string(), x.to_string());
  return expect(node.results[0], DType::i32, TileShape{node.ints[0]});
}

std::string check_sort(const NodeTypes& node) {
  const TileType &key = node.operands[0], &value = node.operands[1];
  if (node.ints[0] != 0 && node.ints[0] != 1) return "bad direction";
  if (std::string text = require_dtype(key, {DType::f32, DType::i32, DType::u32, DType::i64});
      !text.empty())
    return text;
  if (key.shape.rank() == 0) return fmt::format("{} is a scalar", key.to_string());
  if (!(value == TileType{DType::i32, key.shape}))
    return fmt::format("keys {} with values {}; values must be i32 of the same shape",
                       key.to_string(), value.to_string());
  if (std::string text = expect(node.results[0], key.dtype, key.shape); !text.empty()) return text;
  return expect(node.results[1], DType::i32, key.shape);
}

std::string check_lookup(const NodeTypes& node) {
  const TileType& code = node.operands[0];
  if (code.dtype != DType::u8 && code.dtype != DType::i32)
    return fmt::format("the code is {}; it must be u8 or i32", code.to_string());
  for (int64_t entry : node.ints)
    if (!is_constant_value(DType::f32, entry)) return "a table entry is no f32";
  return expect(node.results[0], DType::f32, code.shape);
}

std::string check_random(const NodeTypes& node) {
  const TileType& counter = node.operands[0];
  if (counter.dtype != DType::u32)
    return fmt::format("the counter is {}; it must be u32", counter.to_string());
  if (!is_scalar(node.operands[1], DType::i64))
    return fmt::format("the seed is {}; it must be an i64 scalar", node.operands[1].to_string());
  return expect(node.results[0], DType::u32, counter.shape);
}

bool is_dot_pair(DType a, DType b, DType acc) {
  if (a != b) return false;
  if (a == DType::i8) return acc == DType::i32;
  return (a == DType::f32 || a == DType::bf16) && acc == DType::f32;
}

/// Ranks and M, N, K of a dot; `kn`: b is [K, N].
std::string check_dot_shapes(const NodeTypes& node, bool kn) {
  const TileType &a = node.operands[0], &b = node.operands[1], &acc = node.operands[2];
  const bool ranks = a.shape.rank() == 2 && b.shape.rank() == 2 && acc.shape.rank() == 2;
  if (ranks && a.shape[1] == b.shape[kn ? 0 : 1] && acc.shape[0] == a.shape[0] &&
      acc.shape[1] == b.shape[kn ? 1 : 0])
    return expect(node.results[0], acc.dtype, acc.shape);
  return fmt::format("a {}, b {}, acc {}; they must be [M, K], {}, [M, N]", a.to_string(),
                     b.to_string(), acc.to_string(), kn ? "[K, N]" : "[N, K]");
}

std::string check_dot(const NodeTypes& node) {
  const DType a = node.operands[0].dtype, b = node.operands[1].dtype, acc = node.operands[2].dtype;
  if (node.ints[0] != 0 && node.ints[0] != 1) return "bad layout";
  if (!is_dot_pair(a, b, acc))
    return fmt::format("{} x {} into {}; a dot takes f32 or bf16 into f32, or i8 into i32", name(a),
                       name(b), name(acc));
  return check_dot_shapes(node, node.ints[0] == 1);
}

std::string check_scale(const char* which, const TileType& scale, int64_t rows, int64_t k,
                        bool grouped_rows) {
  if (scale.dtype != DType::f8e8m0 && scale.dtype != DType::f32)
    return fmt::format("{} scale {}; it must be f8e8m0 or f32", which, scale.to_string());
  const bool fits =
      scale.shape.rank() == 2 && scale.shape[1] <= k &&
      (scale.shape[0] == 1 || scale.shape[0] == rows || (grouped_rows && scale.shape[0] <= rows));
  if (fits) return {};
  return fmt::format(
      "{} scale {} for {} rows and K = {}; it must be [{}, K / group], the group a power of two",
      which, scale.to_string(), rows, k, grouped_rows ? "1 or N / group" : "1 or M");
}

std::string check_dot_scaled(const NodeTypes& node) {
  if (node.operands.size() < 3) return fmt::format("{} operands", node.operands.size());
  const int64_t has_a = node.ints[0], has_b = node.ints[1];
  if ((has_a | has_b) & ~int64_t{1}) return "bad scale attributes";
  if (node.operands.size() != static_cast<size_t>(3 + has_a + has_b))
    return "wrong number of scales";
  const TileType &a = node.operands[0], &b = node.operands[1], &acc = node.operands[2];
  const bool a_ok = a.dtype == DType::f32 || a.dtype == DType::bf16 || a.dtype == DType::f8e4m3;
  const bool b_ok = b.dtype == DType::bf16 || b.dtype == DType::f8e4m3 || b.dtype == DType::f4e2m1;
  if (!a_ok || !b_ok || acc.dtype != DType::f32)
    return fmt::format(
        "{} x {} into {}; a is f32, bf16 or f8e4m3, b bf16, f8e4m3 or f4e2m1, acc f32",
        name(a.dtype), name(b.dtype), name(acc.dtype));
  if (std::string text = check_dot_shapes(node, false); !text.empty()) return text;
  const int64_t k = a.shape[1];
  if (has_a)
    if (std::string text = check_scale("a", node.operands[3], a.shape[0], k, false); !text.empty())
      return text;
  if (has_b)
    return check_scale("b", node.operands[3 + static_cast<size_t>(has_a)], b.shape[0], k, true);
  return {};
}

}  // namespace

std::string check_across(const NodeTypes& node) {
  struct Counts {
    int operands, results, ints;
  };
  const auto counts = [&]() -> Counts {
    switch (node.op) {
      case Opcode::kReduce: return {1, 1, 2};
      case Opcode::kScan: return {1, 1, 1};
      case Opcode::kTake: return {2, 1, 0};
      case Opcode::kHistogram: return {-1, 1, 1};
      case Opcode::kSort: return {2, 2, 1};
      case Opcode::kLookup: return {1, 1, 16};
      case Opcode::kRandomBits: return {2, 1, 0};
      case Opcode::kDot: return {3, 1, 1};
      default: return {-1, 1, 2};
    }
  }();
  if (std::string text = check_counts(node, counts.operands, counts.results, counts.ints);
      !text.empty())
    return text;
  switch (node.op) {
    case Opcode::kReduce:
    case Opcode::kScan: return check_reduce(node);
    case Opcode::kTake: return check_take(node);
    case Opcode::kHistogram: return check_histogram(node);
    case Opcode::kSort: return check_sort(node);
    case Opcode::kLookup: return check_lookup(node);
    case Opcode::kRandomBits: return check_random(node);
    case Opcode::kDot: return check_dot(node);
    default: return check_dot_scaled(node);
  }
}

}  // namespace tessera::lang::rules
