// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/ir/import_trace.h"

#include "mlir/IR/Builders.h"
#include "tessera/compiler/ir/node_form.h"
#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::tile {
namespace {

using lang::Node;
using lang::Opcode;
using lang::Trace;
using lang::ValueId;
using mlir::Attribute;
using mlir::Location;
using mlir::Value;

class Importer {
 public:
  Importer(mlir::MLIRContext& context, const Trace& trace)
      : builder_(&context), trace_(trace), values_(trace.values.size()) {}

  mlir::OwningOpRef<mlir::ModuleOp> run() {
    const Location unknown = builder_.getUnknownLoc();
    mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(unknown);
    builder_.setInsertionPointToEnd(module->getBody());
    auto kernel = KernelOp::create(builder_, unknown, trace_.name, views(), scalars(),
                                   static_cast<int64_t>(trace_.slot_count));
    importBlock(trace_.body, kernel.getBody().emplaceBlock(), unknown);
    return module;
  }

 private:
  mlir::ArrayAttr views() {
    llvm::SmallVector<Attribute> list;
    for (const lang::ViewDecl& view : trace_.views) {
      const llvm::SmallVector<int64_t> extents(view.extent_divisors.begin(),
                                               view.extent_divisors.end());
      const llvm::SmallVector<int64_t> strides(view.stride_divisors.begin(),
                                               view.stride_divisors.end());
      list.push_back(ViewAttr::get(builder_.getContext(), view.name,
                                   elementType(builder_.getContext(), view.dtype),
                                   static_cast<Access>(view.access), view.first_slot, extents,
                                   strides, view.constant, view.streamed));
    }
    return builder_.getArrayAttr(list);
  }

  mlir::ArrayAttr scalars() {
    llvm::SmallVector<Attribute> list;
    for (const lang::ScalarDecl& scalar : trace_.scalars)
      list.push_back(ScalarAttr::get(builder_.getContext(), scalar.name,
                                     elementType(builder_.getContext(), scalar.dtype), scalar.slot,
                                     scalar.divisor));
    return builder_.getArrayAttr(list);
  }

  Location locationOf(const Node& node) {
    if (node.line >= trace_.lines.size()) return builder_.getUnknownLoc();
    const lang::SourceLine& line = trace_.lines[node.line];
    return mlir::FileLineColLoc::get(builder_.getStringAttr(line.file), line.line, 0);
  }

  void importBlock(const lang::Block& block, mlir::Block& target, Location loc) {
    for (ValueId param : block.params)
      values_[param] =
          target.addArgument(tensorType(builder_.getContext(), trace_.type(param)), loc);
    mlir::OpBuilder::InsertionGuard guard(builder_);
    builder_.setInsertionPointToEnd(&target);
    for (const Node& node : block.nodes) importNode(node);
    YieldOp::create(builder_, loc, operandsOf(block.yields));
  }

  llvm::SmallVector<Value> operandsOf(llvm::ArrayRef<ValueId> ids) {
    return llvm::map_to_vector(ids, [&](ValueId id) { return values_[id]; });
  }

  void importNode(const Node& node) {
    const std::string_view mnemonic = lang::mnemonic(node.op);
    mlir::OperationState state(locationOf(node),
                               ("tile." + llvm::Twine(llvm::StringRef(mnemonic))).str());
    state.addOperands(operandsOf(node.operands));
    for (ValueId result : node.results)
      state.addTypes(tensorType(builder_.getContext(), trace_.type(result)));
    addAttributes(node, state);
    if (const auto segments = segmentsOf(node); !segments.empty())
      state.addAttribute("operandSegmentSizes", builder_.getDenseI32ArrayAttr(segments));
    for (size_t i = 0; i < node.regions.size(); ++i) state.addRegion();
    mlir::Operation* op = builder_.create(state);
    for (size_t i = 0; i < node.regions.size(); ++i)
      importBlock(node.regions[i], op->getRegion(i).emplaceBlock(), op->getLoc());
    for (size_t i = 0; i < node.results.size(); ++i) values_[node.results[i]] = op->getResult(i);
  }

  void addAttributes(const Node& node, mlir::OperationState& state) {
    using Kind = NodeAttribute::Kind;
    size_t next = 0;
    for (const NodeAttribute& attribute : attributesOf(node.op)) {
      mlir::MLIRContext* context = builder_.getContext();
      switch (attribute.kind) {
        case Kind::kInt:
          state.addAttribute(attribute.name, builder_.getI64IntegerAttr(node.ints[next++]));
          break;
        case Kind::kInts:
          state.addAttribute(
              attribute.name,
              builder_.getDenseI64ArrayAttr(llvm::ArrayRef<int64_t>(node.ints).drop_front(next)));
          break;
        case Kind::kPredicate:
          state.addAttribute(
              attribute.name,
              PredicateAttr::get(context, static_cast<Predicate>(node.ints[next++])));
          break;
        case Kind::kReduction:
          state.addAttribute(
              attribute.name,
              ReductionAttr::get(context, static_cast<Reduction>(node.ints[next++])));
          break;
        case Kind::kMaskFlag: ++next; break;
      }
    }
  }

  llvm::SmallVector<int32_t> segmentsOf(const Node& node) {
    if (node.op == Opcode::kDotScaled)
      return {1, 1, 1, static_cast<int32_t>(node.ints[0]), static_cast<int32_t>(node.ints[1])};
    if (node.op < Opcode::kLoad || node.op > Opcode::kAtomicAdd) return {};
    const int32_t rank = trace_.views[node.ints[0]].rank();
    const int32_t overrides = llvm::popcount(static_cast<uint64_t>(node.ints[1]));
    switch (node.op) {
      case Opcode::kLoad: return {rank, overrides};
      case Opcode::kStore: return {rank, overrides, 1, static_cast<int32_t>(node.ints[2])};
      case Opcode::kGather: return {rank, overrides, 1};
      default: return {rank, overrides, 1, 1};
    }
  }

  mlir::OpBuilder builder_;
  const Trace& trace_;
  std::vector<Value> values_;
};

}  // namespace

mlir::OwningOpRef<mlir::ModuleOp> importTrace(mlir::MLIRContext& context,
                                              const lang::Trace& trace) {
  context.loadDialect<TileDialect>();
  return Importer(context, trace).run();
}

}  // namespace tessera::compiler::tile
