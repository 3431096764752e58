// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/ir/node_form.h"

#include "llvm/ADT/StringMap.h"
#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::tile {

using lang::Opcode;
using Kind = NodeAttribute::Kind;

llvm::ArrayRef<NodeAttribute> attributesOf(Opcode op) {
  static constexpr NodeAttribute kAxis[] = {{"axis"}};
  static constexpr NodeAttribute kExtent[] = {{"view"}, {"dim"}};
  static constexpr NodeAttribute kScalarArg[] = {{"index"}};
  static constexpr NodeAttribute kConstant[] = {{"value"}};
  static constexpr NodeAttribute kRead[] = {{"view"}, {"overridden"}, {"fill"}};
  static constexpr NodeAttribute kStore[] = {{"view"}, {"overridden"}, {"", Kind::kMaskFlag}};
  static constexpr NodeAttribute kUpdate[] = {{"view"}, {"overridden"}};
  static constexpr NodeAttribute kCompare[] = {{"predicate", Kind::kPredicate}};
  static constexpr NodeAttribute kTranspose[] = {{"permutation", Kind::kInts}};
  static constexpr NodeAttribute kSlice[] = {{"axis"}, {"start"}};
  static constexpr NodeAttribute kReduce[] = {{"axis"}, {"kind", Kind::kReduction}};
  static constexpr NodeAttribute kHistogram[] = {{"bins"}};
  static constexpr NodeAttribute kSort[] = {{"descending"}};
  static constexpr NodeAttribute kLookup[] = {{"table", Kind::kInts}};
  static constexpr NodeAttribute kDot[] = {{"b_is_kn"}};
  static constexpr NodeAttribute kDotScaled[] = {{"has_a_scale"}, {"has_b_scale"}};
  switch (op) {
    case Opcode::kProgramId:
    case Opcode::kNumPrograms:
    case Opcode::kIota:
    case Opcode::kConcat:
    case Opcode::kScan: return kAxis;
    case Opcode::kExtent: return kExtent;
    case Opcode::kScalarArg: return kScalarArg;
    case Opcode::kConstant: return kConstant;
    case Opcode::kLoad:
    case Opcode::kGather: return kRead;
    case Opcode::kStore: return kStore;
    case Opcode::kScatter:
    case Opcode::kAtomicAdd: return kUpdate;
    case Opcode::kCompare: return kCompare;
    case Opcode::kTranspose: return kTranspose;
    case Opcode::kSlice: return kSlice;
    case Opcode::kReduce: return kReduce;
    case Opcode::kHistogram: return kHistogram;
    case Opcode::kSort: return kSort;
    case Opcode::kLookup: return kLookup;
    case Opcode::kDot: return kDot;
    case Opcode::kDotScaled: return kDotScaled;
    default: return {};
  }
}

std::optional<Opcode> opcodeOf(mlir::Operation* op) {
  static const llvm::StringMap<Opcode> kOpcodes = [] {
    llvm::StringMap<Opcode> map;
    for (int i = 0; i < lang::kOpcodeCount; ++i) {
      const std::string_view name = lang::mnemonic(static_cast<Opcode>(i));
      map[llvm::StringRef(name.data(), name.size())] = static_cast<Opcode>(i);
    }
    return map;
  }();
  llvm::StringRef name = op->getName().getStringRef();
  if (!name.consume_front("tile.")) return std::nullopt;
  const auto found = kOpcodes.find(name);
  if (found == kOpcodes.end()) return std::nullopt;
  return found->second;
}

llvm::SmallVector<int64_t> intsOf(mlir::Operation* op, Opcode opcode) {
  llvm::SmallVector<int64_t> ints;
  for (const NodeAttribute& attribute : attributesOf(opcode)) {
    if (attribute.kind == Kind::kMaskFlag) {
      ints.push_back(llvm::cast<StoreOp>(op).getMask() ? 1 : 0);
      continue;
    }
    const auto value = op->getInherentAttr(attribute.name);
    if (!value || !*value) continue;
    if (auto number = llvm::dyn_cast<mlir::IntegerAttr>(*value)) ints.push_back(number.getInt());
    if (auto list = llvm::dyn_cast<mlir::DenseI64ArrayAttr>(*value))
      llvm::append_range(ints, list.asArrayRef());
    if (auto predicate = llvm::dyn_cast<PredicateAttr>(*value))
      ints.push_back(static_cast<int64_t>(predicate.getValue()));
    if (auto reduction = llvm::dyn_cast<ReductionAttr>(*value))
      ints.push_back(static_cast<int64_t>(reduction.getValue()));
  }
  return ints;
}

}  // namespace tessera::compiler::tile
