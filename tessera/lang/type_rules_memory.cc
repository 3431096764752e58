// SPDX-License-Identifier: Apache-2.0
// Rules of the nodes that read arguments and memory.
#include <fmt/format.h>

#include <bit>

#include "tessera/lang/type_rules.h"

namespace tessera::lang::rules {

std::string check_source(const Trace& declarations, const NodeTypes& node) {
  const int ints = node.op == Opcode::kExtent ? 2 : 1;
  if (std::string text = check_counts(node, 0, 1, ints); !text.empty()) return text;
  const TileType& result = node.results[0];
  const int64_t a = node.ints[0];
  switch (node.op) {
    case Opcode::kProgramId:
    case Opcode::kNumPrograms:
      if (a < 0 || a > 2) return fmt::format("axis {}; a grid has axes 0, 1 and 2", a);
      return is_scalar(result, DType::i64) ? "" : "the result is an i64 scalar";
    case Opcode::kExtent:
      if (a < 0 || a >= static_cast<int64_t>(declarations.views.size()))
        return fmt::format("no view {}", a);
      if (node.ints[1] < 0 || node.ints[1] >= declarations.views[a].rank())
        return fmt::format("dimension {} of view '{}', which has {}", node.ints[1],
                           declarations.views[a].name, declarations.views[a].rank());
      return is_scalar(result, DType::i64) ? "" : "the result is an i64 scalar";
    case Opcode::kScalarArg:
      if (a < 0 || a >= static_cast<int64_t>(declarations.scalars.size()))
        return fmt::format("no scalar {}", a);
      return is_scalar(result, declarations.scalars[a].dtype) ? ""
                                                              : "the result has the scalar's type";
    case Opcode::kConstant:
      return is_constant_value(result.dtype, a) ? ""
                                                : fmt::format("{} is no {}", a, name(result.dtype));
    default:  // iota
      if (a < 0 || a >= result.shape.rank())
        return fmt::format("axis {} of shape {}", a, result.shape.to_string());
      return result.dtype == DType::i32 ? "" : "the result is i32";
  }
}

namespace {

/// Operands of one access, by position.
struct Parts {
  const ViewDecl& view;
  size_t offsets, overrides;
  std::span<const TileType> rest;  // after offsets and overrides
};

std::string check_access(const ViewDecl& view, Opcode op) {
  const bool reads = op == Opcode::kLoad || op == Opcode::kGather || op == Opcode::kAtomicAdd;
  const bool writes = op == Opcode::kStore || op == Opcode::kScatter || op == Opcode::kAtomicAdd;
  if (op == Opcode::kAtomicAdd && view.access != Access::kReadWrite)
    return fmt::format("view '{}' is not declared read-write", view.name);
  if (reads && view.access == Access::kWrite)
    return fmt::format("view '{}' is write-only", view.name);
  if (writes && view.access == Access::kRead)
    return fmt::format("view '{}' is read-only", view.name);
  return {};
}

/// The tile that is read or written, against the view.
std::string check_tile(const ViewDecl& view, const TileType& tile) {
  if (tile.dtype != view.dtype)
    return fmt::format("{} for view '{}' of {}; cast it first", tile.to_string(), view.name,
                       name(view.dtype));
  if (tile.shape.rank() > view.rank())
    return fmt::format("{} has more dimensions than view '{}', which has {}", tile.to_string(),
                       view.name, view.rank());
  if (view.dtype == DType::f4e2m1 && tile.shape.last() < 2)
    return fmt::format("{}: f4e2m1 has two elements a byte, the last extent must be at least 2",
                       tile.to_string());
  return {};
}

std::string check_rows(const TileType& rows, const TileType& tile, const ViewDecl& view) {
  if (rows.dtype != DType::i32 && rows.dtype != DType::u32 && rows.dtype != DType::i64)
    return fmt::format("row indices are {}; they must be i32, u32 or i64", rows.to_string());
  if (rows.shape.rank() != 1)
    return fmt::format("row indices are {}; they must have one dimension", rows.to_string());
  if (tile.shape.rank() < 1 || tile.shape.rank() > 2 || tile.shape[0] != rows.shape[0])
    return fmt::format("{} with row indices {}", tile.to_string(), rows.to_string());
  return check_tile(view, tile);
}

std::string check_plain(const NodeTypes& node, const Parts& parts) {
  if (node.op == Opcode::kLoad) {
    if (!parts.rest.empty()) return "too many operands";
    return check_tile(parts.view, node.results[0]);
  }
  const bool masked = node.ints[2] == 1;
  if (node.ints[2] != 0 && !masked) return "bad mask attribute";
  if (parts.rest.size() != (masked ? 2u : 1u)) return "wrong number of operands";
  if (masked && !(parts.rest[1] == TileType{DType::i1, parts.rest[0].shape}))
    return fmt::format("mask {} for {}; it must be i1 of the same shape", parts.rest[1].to_string(),
                       parts.rest[0].to_string());
  return check_tile(parts.view, parts.rest[0]);
}

std::string check_indexed(const NodeTypes& node, const Parts& parts) {
  const bool gather = node.op == Opcode::kGather;
  if (parts.rest.size() != (gather ? 1u : 2u)) return "wrong number of operands";
  const TileType& tile = gather ? node.results[0] : parts.rest[1];
  if (node.op == Opcode::kAtomicAdd && tile.dtype != DType::i32 && tile.dtype != DType::i64)
    return fmt::format("{}; only i32 and i64 are added atomically", tile.to_string());
  return check_rows(parts.rest[0], tile, parts.view);
}

}  // namespace

std::string check_memory(const Trace& declarations, const NodeTypes& node) {
  const bool reads = node.op == Opcode::kLoad || node.op == Opcode::kGather;
  const bool has_third = reads || node.op == Opcode::kStore;  // fill or mask flag
  if (std::string text = check_counts(node, -1, reads ? 1 : 0, has_third ? 3 : 2); !text.empty())
    return text;
  if (node.ints[0] < 0 || node.ints[0] >= static_cast<int64_t>(declarations.views.size()))
    return fmt::format("no view {}", node.ints[0]);
  const ViewDecl& view = declarations.views[node.ints[0]];
  const uint64_t overridden = static_cast<uint64_t>(node.ints[1]);
  if (overridden >> view.rank()) return "an extent beyond the rank of the view is replaced";
  const size_t rank = static_cast<size_t>(view.rank());
  const size_t overrides = static_cast<size_t>(std::popcount(overridden));
  if (node.operands.size() < rank + overrides)
    return fmt::format("{} operands for view '{}' of rank {}", node.operands.size(), view.name,
                       view.rank());
  for (size_t i = 0; i < rank + overrides; ++i)
    if (!is_scalar(node.operands[i], DType::i64))
      return fmt::format("offset or extent {} is {}, not an i64 scalar", i,
                         node.operands[i].to_string());
  if (std::string text = check_access(view, node.op); !text.empty()) return text;
  if (reads && !is_constant_value(view.dtype, node.ints[2]))
    return fmt::format("fill {} is no {}", node.ints[2], name(view.dtype));
  const Parts parts{view, rank, overrides, node.operands.subspan(rank + overrides)};
  const bool plain = node.op == Opcode::kLoad || node.op == Opcode::kStore;
  return plain ? check_plain(node, parts) : check_indexed(node, parts);
}

}  // namespace tessera::lang::rules
