// SPDX-License-Identifier: Apache-2.0
// Trace::to_string: one line a node, "%results = mnemonic operands {attributes} : types".
#include <fmt/format.h>

#include <bit>

#include "tessera/base/dtype.h"
#include "tessera/lang/trace.h"

namespace tessera::lang {
namespace {

class Printer {
 public:
  explicit Printer(const Trace& trace) : trace_(trace) {}

  std::string print() {
    put("kernel {}\n", trace_.name);
    if (trace_.warps != 0) put("  warps {}\n", trace_.warps);
    if (trace_.stages != 0) put("  stages {}\n", trace_.stages);
    for (const ViewDecl& view : trace_.views) print_view(view);
    for (const ScalarDecl& scalar : trace_.scalars)
      put("  scalar {}: {}{}, slot {}\n", scalar.name, name(scalar.dtype), divisor(scalar.divisor),
          scalar.slot);
    print_block(trace_.body, 1);
    return std::move(out_);
  }

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  static std::string divisor(Divisor d) {
    return d == 1 ? "" : d == 0 ? " =1" : fmt::format(" %{}", d);
  }

  void print_view(const ViewDecl& view) {
    static constexpr std::string_view kAccess[] = {"read", "write", "read-write"};
    put("  view {}: {}[", view.name, name(view.dtype));
    for (int d = 0; d < view.rank(); ++d)
      put("{}?{}", d == 0 ? "" : ", ", divisor(view.extent_divisors[static_cast<size_t>(d)]));
    put("]");
    if (view.rank() > 1) put(" strides [");
    for (size_t d = 0; d < view.stride_divisors.size(); ++d)
      put("{}?{}", d == 0 ? "" : ", ", divisor(view.stride_divisors[d]));
    if (view.rank() > 1) put("]");
    put(" {}{}{}, slot {}\n", kAccess[static_cast<int>(view.access)],
        view.constant ? " constant" : "", view.streamed ? " streamed" : "", view.first_slot);
  }

  std::string ids(std::span<const ValueId> values) const {
    std::string text;
    for (ValueId v : values) text += fmt::format("{}%{}", text.empty() ? "" : ", ", v);
    return text;
  }

  std::string types(std::span<const ValueId> values) const {
    std::string text;
    for (ValueId v : values) text += (text.empty() ? "" : ", ") + trace_.type(v).to_string();
    return text;
  }

  std::string number(DType dtype, int64_t bits) const {
    if (!is_float(dtype)) return fmt::format("{}", bits);
    return fmt::format("{}", std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }

  void print_block(const Block& block, int depth) {
    for (const Node& node : block.nodes) print_node(node, depth);
    if (!block.yields.empty()) put("{:{}}yield {}\n", "", 2 * depth, ids(block.yields));
  }

  void print_node(const Node& node, int depth) {
    put("{:{}}", "", 2 * depth);
    if (!node.results.empty()) put("{} = ", ids(node.results));
    put("{}", mnemonic(node.op));
    if (node.op >= Opcode::kLoad && node.op <= Opcode::kAtomicAdd) {
      print_access(node);
    } else if (node.op == Opcode::kFor) {
      print_loop(node);
    } else {
      if (!node.operands.empty()) put(" {}", ids(node.operands));
      print_ints(node);
    }
    if (!node.results.empty()) put(" : {}", types(node.results));
    if (const std::string line = trace_.line(node); !line.empty()) put("  // {}", line);
    put("\n");
    for (size_t i = 0; i < node.regions.size(); ++i) {
      if (i > 0 && node.regions[i].nodes.empty() && node.regions[i].yields.empty()) continue;
      if (i > 0) put("{:{}}else\n", "", 2 * depth);
      print_block(node.regions[i], depth + 1);
    }
  }

  void print_loop(const Node& node) {
    const Block& body = node.regions[0];
    put(" %{} from %{} to %{} step %{}", body.params[0], node.operands[0], node.operands[1],
        node.operands[2]);
    for (size_t i = 1; i < body.params.size(); ++i)
      put("{}%{} = %{}", i == 1 ? " carry " : ", ", body.params[i], node.operands[i + 2]);
  }

  void print_access(const Node& node) {
    const MemoryAccess access = trace_.memory_access(node);
    const ViewDecl& view = trace_.views[access.view];
    put(" {}[", view.name);
    for (size_t d = 0; d < access.offsets.size(); ++d) {
      put("{}%{}", d == 0 ? "" : ", ", access.offsets[d]);
      if (access.extent_override[d] >= 0) put(" < %{}", access.extent_override[d]);
    }
    put("]");
    if (access.rows >= 0) put(" rows %{}", access.rows);
    if (access.tile >= 0) put(", %{}", access.tile);
    if (access.mask >= 0) put(" where %{}", access.mask);
    if (access.fill != 0) put(" fill {}", number(view.dtype, access.fill));
    if (access.tile >= 0) put(" : {}", trace_.type(access.tile).to_string());
  }

  void print_ints(const Node& node) {
    const auto& ints = node.ints;
    if (ints.empty()) return;
    switch (node.op) {
      case Opcode::kConstant:
        put(" {}", number(trace_.type(node.results[0]).dtype, ints[0]));
        break;
      case Opcode::kExtent:
        put(" {} {}", trace_.views[static_cast<size_t>(ints[0])].name, ints[1]);
        break;
      case Opcode::kScalarArg: put(" {}", trace_.scalars[static_cast<size_t>(ints[0])].name); break;
      case Opcode::kCompare: put(" {}", name(static_cast<Predicate>(ints[0]))); break;
      case Opcode::kReduce:
        put(" axis {} {}", ints[0], name(static_cast<Reduction>(ints[1])));
        break;
      case Opcode::kLookup:
        for (size_t i = 0; i < ints.size(); ++i)
          put("{}{}", i == 0 ? " {" : ", ", number(DType::f32, ints[i]));
        put("}}");
        break;
      default:
        for (size_t i = 0; i < ints.size(); ++i) put("{}{}", i == 0 ? " {" : ", ", ints[i]);
        put("}}");
        break;
    }
  }

  const Trace& trace_;
  std::string out_;
};

}  // namespace

std::string Trace::to_string() const { return Printer(*this).print(); }

}  // namespace tessera::lang
