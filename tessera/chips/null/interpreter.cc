// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/interpreter.h"

#include <fmt/format.h>

#include <numeric>

#include "tessera/chips/null/operations.h"

namespace tessera::chips::null {

using lang::Block;
using lang::Node;
using lang::Opcode;

Interpreter::Interpreter(const lang::Trace& trace, Memory& memory, std::array<uint32_t, 3> grid)
    : trace_(trace), memory_(memory), grid_(grid), values_(trace.values.size()) {
  for (size_t v = 0; v < values_.size(); ++v) values_[v].set_type(trace.values[v]);
}

Result<void> Interpreter::run_program(std::array<uint32_t, 3> id) {
  program_ = id;
  failed_ = nullptr;
  const std::string text = run_block(trace_.body);
  if (text.empty()) return {};
  const std::string line = failed_ == nullptr ? "" : trace_.line(*failed_);
  return invalid_argument(fmt::format("kernel '{}', program ({}, {}, {}){}{}: {}: {}", trace_.name,
                                      id[0], id[1], id[2], line.empty() ? "" : ", ", line,
                                      failed_ == nullptr ? "" : mnemonic(failed_->op), text));
}

std::string Interpreter::run_block(const Block& block) {
  for (const Node& node : block.nodes) {
    std::string text = run_node(node);
    if (text.empty()) continue;
    if (failed_ == nullptr) failed_ = &node;
    return text;
  }
  return {};
}

std::string Interpreter::run_node(const Node& node) {
  const Opcode op = node.op;
  if (op == Opcode::kFor) return run_for(node);
  if (op == Opcode::kIf) return run_if(node);
  if (op >= Opcode::kLoad && op <= Opcode::kAtomicAdd)
    return memory_.access(node, values_, node.results.empty() ? nullptr : &value(node.results[0]));
  if (op <= Opcode::kIota) {
    run_source(node);
    return {};
  }
  std::array<const Value*, 5> operands{};
  std::array<Value*, 2> results{};
  for (size_t i = 0; i < node.operands.size(); ++i) operands[i] = &value(node.operands[i]);
  for (size_t i = 0; i < node.results.size(); ++i) results[i] = &value(node.results[i]);
  const Operands in(operands.data(), node.operands.size());
  const Results out(results.data(), node.results.size());
  if (op <= Opcode::kFma) {
    evaluate_elementwise(node, in, out);
  } else if (op <= Opcode::kJoin) {
    evaluate_shape(node, in, out);
  } else {
    evaluate_across(node, in, out);
  }
  return {};
}

void Interpreter::run_source(const Node& node) {
  Value& out = value(node.results[0]);
  const int64_t attribute = node.ints[0];
  const auto index = static_cast<size_t>(attribute);
  switch (node.op) {
    case Opcode::kProgramId: out.fill_raw(program_[index]); break;
    case Opcode::kNumPrograms: out.fill_raw(grid_[index]); break;
    case Opcode::kExtent:
      out.fill_raw(static_cast<uint64_t>(
          memory_.extent(static_cast<uint32_t>(index), static_cast<int>(node.ints[1]))));
      break;
    case Opcode::kScalarArg: out.fill_raw(memory_.scalar(static_cast<uint32_t>(index))); break;
    case Opcode::kConstant: out.fill_raw(raw_constant(out.dtype(), attribute)); break;
    default: {  // iota
      const AxisView view(out.shape(), static_cast<int>(attribute));
      const auto to = out.as<int32_t>();
      for (int64_t i = 0; i < out.size(); ++i)
        to[static_cast<size_t>(i)] = static_cast<int32_t>(i / view.inner % view.extent);
    }
  }
}

void Interpreter::copy_values(std::span<const lang::ValueId> from,
                              std::span<const lang::ValueId> to) {
  // Through copies: a loop may yield its own parameters in another order.
  std::vector<Value> copies;
  copies.reserve(from.size());
  for (lang::ValueId id : from) copies.push_back(value(id));
  for (size_t i = 0; i < to.size(); ++i) std::swap(value(to[i]), copies[i]);
}

std::string Interpreter::run_for(const Node& node) {
  const int64_t lo = value(node.operands[0]).index(), hi = value(node.operands[1]).index();
  const int64_t step = value(node.operands[2]).index();
  if (step <= 0) return fmt::format("the step is {}", step);
  const Block& body = node.regions[0];
  const auto carried = std::span(body.params).subspan(1);
  copy_values(std::span(node.operands).subspan(3), carried);
  int64_t i = lo;
  while (i < hi) {
    value(body.params[0]).as<int64_t>()[0] = i;
    if (std::string text = run_block(body); !text.empty()) return text;
    copy_values(body.yields, carried);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  copy_values(carried, node.results);
  return {};
}

std::string Interpreter::run_if(const Node& node) {
  const Block& taken = node.regions[value(node.operands[0]).as<uint8_t>()[0] != 0 ? 0 : 1];
  if (std::string text = run_block(taken); !text.empty()) return text;
  copy_values(taken.yields, node.results);
  return {};
}

Result<void> interpret(const lang::Trace& trace, std::array<uint32_t, 3> grid,
                       std::span<const uint64_t> slots, const FindMemory& find) {
  Memory memory(trace, slots, find);
  if (const std::string text = memory.check_arguments(); !text.empty())
    return invalid_argument(fmt::format("kernel '{}': {}", trace.name, text));
  Interpreter interpreter(trace, memory, grid);
  for (uint32_t z = 0; z < grid[2]; ++z)
    for (uint32_t y = 0; y < grid[1]; ++y)
      for (uint32_t x = 0; x < grid[0]; ++x) TESSERA_TRY(interpreter.run_program({x, y, z}));
  return {};
}

}  // namespace tessera::chips::null
