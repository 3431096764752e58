// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/type_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "tessera/lang/type_rules.h"

namespace tessera::lang {

bool is_arithmetic(DType dtype) {
  return dtype == DType::f32 || dtype == DType::i32 || dtype == DType::u32 || dtype == DType::i64;
}

bool is_kernel_dtype(DType dtype) {
  return static_cast<int>(dtype) < kDTypeCount && dtype != DType::f64;
}

DType compute_dtype(DType storage) {
  if (is_arithmetic(storage)) return storage;
  return is_float(storage) ? DType::f32 : DType::i32;
}

bool is_single_cast(DType from, DType to) {
  if (to == DType::i1 || !is_kernel_dtype(from) || !is_kernel_dtype(to)) return false;
  const bool from_arithmetic = is_arithmetic(from) || from == DType::i1;
  if (from_arithmetic && is_arithmetic(to)) return true;
  if (!is_arithmetic(from) && from != DType::i1) return to == compute_dtype(from);
  return from == compute_dtype(to);
}

bool is_constant_value(DType dtype, int64_t value) {
  switch (dtype) {
    case DType::i1: return value == 0 || value == 1;
    case DType::i8: return value == static_cast<int8_t>(value);
    case DType::u8: return value == static_cast<uint8_t>(value);
    case DType::i16: return value == static_cast<int16_t>(value);
    case DType::i32: return value == static_cast<int32_t>(value);
    case DType::i64: return true;
    default: return value == static_cast<uint32_t>(value);  // u32 and the bits of floats
  }
}

std::string check_node(const Trace& declarations, const NodeTypes& node) {
  std::string text;
  for (const TileType& result : node.results) {
    if (!is_kernel_dtype(result.dtype)) text = "f64 has no place in a kernel";
    if (text.empty()) text = result.shape.defect();
  }
  if (text.empty()) {
    const Opcode op = node.op;
    if (op <= Opcode::kIota) {
      text = rules::check_source(declarations, node);
    } else if (op <= Opcode::kAtomicAdd) {
      text = rules::check_memory(declarations, node);
    } else if (op <= Opcode::kFma) {
      text = rules::check_elementwise(node);
    } else if (op <= Opcode::kJoin) {
      text = rules::check_shape(node);
    } else if (op <= Opcode::kDotScaled) {
      text = rules::check_across(node);
    } else {
      text = rules::check_control(node);
    }
  }
  return text.empty() ? text : fmt::format("{}: {}", mnemonic(node.op), text);
}

bool is_divisor(Divisor d) {
  return d == 0 || d == 1 || d == 2 || d == 4 || d == 8 || d == 16 || d == 128;
}

namespace {

std::string check_view(const ViewDecl& view, uint32_t slot) {
  if (view.rank() < 1 || view.rank() > kMaxViewRank)
    return fmt::format("view '{}': rank {} is not in [1, {}]", view.name, view.rank(),
                       kMaxViewRank);
  if (view.dtype == DType::i1)
    return fmt::format("view '{}': i1 has no form in memory; use u8", view.name);
  if (!is_kernel_dtype(view.dtype))
    return fmt::format("view '{}': f64 has no place in a kernel", view.name);
  if (static_cast<int>(view.stride_divisors.size()) != view.rank() - 1)
    return fmt::format("view '{}': {} stride divisors for rank {}", view.name,
                       view.stride_divisors.size(), view.rank());
  if (view.access > Access::kReadWrite) return fmt::format("view '{}': unknown access", view.name);
  if (view.first_slot != slot)
    return fmt::format("view '{}': first slot {}", view.name, view.first_slot);
  for (const auto* divisors : {&view.extent_divisors, &view.stride_divisors})
    for (Divisor d : *divisors)
      if (!is_divisor(d))
        return fmt::format("view '{}': divisor {} is not one of 0, 1, 2, 4, 8, 16, 128", view.name,
                           d);
  return {};
}

}  // namespace

std::string check_declarations(const Trace& trace) {
  // Arguments own consecutive slots; views and scalars may alternate.
  size_t view = 0, scalar = 0;
  uint32_t slot = 0;
  while (view < trace.views.size() || scalar < trace.scalars.size()) {
    if (scalar < trace.scalars.size() && trace.scalars[scalar].slot == slot) {
      const ScalarDecl& decl = trace.scalars[scalar++];
      if (!is_arithmetic(decl.dtype))
        return fmt::format("scalar '{}': {} is not one of f32, i32, u32, i64", decl.name,
                           name(decl.dtype));
      if (!is_divisor(decl.divisor))
        return fmt::format("scalar '{}': divisor {} is not one of 0, 1, 2, 4, 8, 16, 128",
                           decl.name, decl.divisor);
      ++slot;
    } else if (view < trace.views.size()) {
      const ViewDecl& decl = trace.views[view++];
      if (std::string text = check_view(decl, slot); !text.empty()) return text;
      slot += decl.slot_count();
    } else {
      return fmt::format("scalar '{}': slot {}", trace.scalars[scalar].name,
                         trace.scalars[scalar].slot);
    }
  }
  if (slot != trace.slot_count)
    return fmt::format("{} slots declared, {} counted", trace.slot_count, slot);
  return {};
}

namespace {

/// Walks blocks; a value is visible from its definition to the end of its block.
class Checker {
 public:
  explicit Checker(const Trace& trace)
      : trace_(trace), visible_(trace.values.size(), false), defined_(trace.values.size(), false) {}

  std::string block(const Block& block, int depth) {
    if (depth > kMaxNesting)
      return fmt::format("more than {} nested loops and branches", kMaxNesting);
    std::vector<ValueId> mine;
    for (ValueId v : block.params)
      if (!define(v, mine)) return fmt::format("value {} cannot be defined here", v);
    for (const Node& node : block.nodes)
      if (std::string text = this->node(node, mine, depth); !text.empty()) return text;
    for (ValueId v : block.yields)
      if (!is_visible(v)) return fmt::format("yielded value {} is not visible", v);
    for (ValueId v : mine) visible_[v] = false;
    return {};
  }

  bool all_defined() const {
    return std::ranges::all_of(defined_, [](bool d) { return d; });
  }

 private:
  bool define(ValueId v, std::vector<ValueId>& mine) {
    if (v < 0 || static_cast<size_t>(v) >= defined_.size() || defined_[v]) return false;
    defined_[v] = visible_[v] = true;
    mine.push_back(v);
    return true;
  }
  bool is_visible(ValueId v) const {
    return v >= 0 && static_cast<size_t>(v) < visible_.size() && visible_[v];
  }

  std::string node(const Node& node, std::vector<ValueId>& mine, int depth) {
    std::vector<TileType> operands, results;
    for (ValueId v : node.operands) {
      if (!is_visible(v)) return fmt::format("{}: operand {} is not visible", mnemonic(node.op), v);
      operands.push_back(trace_.values[v]);
    }
    for (ValueId v : node.results) {
      if (v < 0 || static_cast<size_t>(v) >= defined_.size())
        return fmt::format("{}: result {} does not exist", mnemonic(node.op), v);
      results.push_back(trace_.values[v]);
    }
    if (!trace_.lines.empty() && node.line >= trace_.lines.size())
      return "source line out of range";
    if (std::string text = check_node(trace_, {node.op, operands, results, node.ints});
        !text.empty())
      return text;
    if (std::string text = regions(node, results, depth); !text.empty()) return text;
    for (ValueId v : node.results)
      if (!define(v, mine)) return fmt::format("value {} is defined twice", v);
    return {};
  }

  std::string regions(const Node& node, std::span<const TileType> results, int depth) {
    const size_t expected = node.op == Opcode::kFor ? 1 : node.op == Opcode::kIf ? 2 : 0;
    if (node.regions.size() != expected)
      return fmt::format("{}: {} regions", mnemonic(node.op), node.regions.size());
    for (const Block& region : node.regions) {
      std::vector<TileType> params;
      if (node.op == Opcode::kFor) {
        params.push_back({DType::i64, {}});
        params.insert(params.end(), results.begin(), results.end());
      }
      if (!has_types(region.params, params))
        return fmt::format("{}: wrong block parameters", mnemonic(node.op));
      if (std::string text = block(region, depth + 1); !text.empty()) return text;
      if (!has_types(region.yields, results))
        return fmt::format("{}: wrong yields", mnemonic(node.op));
    }
    return {};
  }

  bool has_types(std::span<const ValueId> values, std::span<const TileType> types) const {
    if (values.size() != types.size()) return false;
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] < 0 || static_cast<size_t>(values[i]) >= trace_.values.size()) return false;
      if (!(trace_.values[values[i]] == types[i])) return false;
    }
    return true;
  }

  const Trace& trace_;
  std::vector<bool> visible_, defined_;
};

}  // namespace

Result<void> check_trace(const Trace& trace) {
  std::string text = check_declarations(trace);
  for (const TileType& type : trace.values) {
    if (!is_kernel_dtype(type.dtype)) text = "a value has an unknown dtype";
    if (text.empty()) text = type.shape.defect();
  }
  Checker checker(trace);
  if (text.empty()) text = checker.block(trace.body, 0);
  if (text.empty() && !(trace.body.params.empty() && trace.body.yields.empty()))
    text = "the kernel body has parameters or yields";
  if (text.empty() && !checker.all_defined()) text = "a value is never defined";
  if (!text.empty()) return corrupt(fmt::format("trace '{}': {}", trace.name, text));
  return {};
}

}  // namespace tessera::lang
