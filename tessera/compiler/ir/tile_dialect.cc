// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/ir/tile_dialect.h"

#include "llvm/ADT/TypeSwitch.h"
#include "tessera/base/check.h"
#include "tessera/compiler/ir/node_form.h"
#include "tessera/lang/type_check.h"

#include "tessera/compiler/ir/tile_dialect.cc.inc"
#include "tessera/compiler/ir/tile_enums.cc.inc"
#define GET_ATTRDEF_CLASSES
#include "tessera/compiler/ir/tile_attributes.cc.inc"
#define GET_OP_CLASSES
#include "tessera/compiler/ir/tile_ops.cc.inc"

namespace tessera::compiler::tile {

using mlir::failure;
using mlir::LogicalResult;
using mlir::OpFoldResult;
using mlir::success;
using mlir::Type;
using mlir::Value;

void TileDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "tessera/compiler/ir/tile_attributes.cc.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "tessera/compiler/ir/tile_ops.cc.inc"
      >();
}

// ---- types ----

Type elementType(mlir::MLIRContext* context, DType dtype) {
  const auto integer = [&](unsigned width, bool isUnsigned = false) -> Type {
    return mlir::IntegerType::get(
        context, width, isUnsigned ? mlir::IntegerType::Unsigned : mlir::IntegerType::Signless);
  };
  switch (dtype) {
    case DType::i1: return integer(1);
    case DType::i8: return integer(8);
    case DType::u8: return integer(8, true);
    case DType::i16: return integer(16);
    case DType::i32: return integer(32);
    case DType::u32: return integer(32, true);
    case DType::i64: return integer(64);
    case DType::f32: return mlir::Float32Type::get(context);
    case DType::f64: return mlir::Float64Type::get(context);
    case DType::bf16: return mlir::BFloat16Type::get(context);
    case DType::f16: return mlir::Float16Type::get(context);
    case DType::f8e4m3: return mlir::Float8E4M3FNType::get(context);
    case DType::f8e5m2: return mlir::Float8E5M2Type::get(context);
    case DType::f8e8m0: return mlir::Float8E8M0FNUType::get(context);
    case DType::f4e2m1: return mlir::Float4E2M1FNType::get(context);
  }
  TESSERA_UNREACHABLE("dtype {}", static_cast<int>(dtype));
}

std::optional<DType> dtypeOf(Type element) {
  return llvm::TypeSwitch<Type, std::optional<DType>>(element)
      .Case([](mlir::IntegerType t) -> std::optional<DType> {
        const bool isUnsigned = t.isUnsigned();
        if (t.isSigned()) return std::nullopt;
        switch (t.getWidth()) {
          case 1: return isUnsigned ? std::nullopt : std::optional(DType::i1);
          case 8: return isUnsigned ? DType::u8 : DType::i8;
          case 16: return isUnsigned ? std::nullopt : std::optional(DType::i16);
          case 32: return isUnsigned ? DType::u32 : DType::i32;
          case 64: return isUnsigned ? std::nullopt : std::optional(DType::i64);
          default: return std::nullopt;
        }
      })
      .Case([](mlir::Float32Type) { return DType::f32; })
      .Case([](mlir::Float64Type) { return DType::f64; })
      .Case([](mlir::BFloat16Type) { return DType::bf16; })
      .Case([](mlir::Float16Type) { return DType::f16; })
      .Case([](mlir::Float8E4M3FNType) { return DType::f8e4m3; })
      .Case([](mlir::Float8E5M2Type) { return DType::f8e5m2; })
      .Case([](mlir::Float8E8M0FNUType) { return DType::f8e8m0; })
      .Case([](mlir::Float4E2M1FNType) { return DType::f4e2m1; })
      .Default(std::nullopt);
}

mlir::RankedTensorType tensorType(mlir::MLIRContext* context, const lang::TileType& type) {
  const auto dims = type.shape.dims();
  return mlir::RankedTensorType::get({dims.data(), dims.size()}, elementType(context, type.dtype));
}

std::optional<lang::TileType> tileType(Type type) {
  const auto tensor = llvm::dyn_cast<mlir::RankedTensorType>(type);
  if (!tensor || !tensor.hasStaticShape()) return std::nullopt;
  const std::optional<DType> dtype = dtypeOf(tensor.getElementType());
  if (!dtype) return std::nullopt;
  lang::TileType result{*dtype, {}};
  for (int64_t extent : tensor.getShape()) result.shape.push_back(extent);
  return result;
}

DType dtypeOf(Value value) { return *dtypeOf(typeOf(value).getElementType()); }

lang::TileShape shapeOf(Value tile) { return tileType(tile.getType())->shape; }

// ---- verification ----

namespace {

/// The declarations the rules look at.
lang::Trace declarationsOf(KernelOp kernel) {
  lang::Trace trace;
  for (mlir::Attribute attribute : kernel.getViews()) {
    const auto view = llvm::cast<ViewAttr>(attribute);
    lang::ViewDecl decl;
    decl.name = view.getName().str();
    decl.dtype = dtypeOf(view.getType()).value_or(DType::f64);
    decl.access = static_cast<lang::Access>(view.getAccess());
    decl.extent_divisors.assign(view.getExtents().begin(), view.getExtents().end());
    decl.stride_divisors.assign(view.getStrides().begin(), view.getStrides().end());
    trace.views.push_back(std::move(decl));
  }
  for (mlir::Attribute attribute : kernel.getScalars()) {
    const auto scalar = llvm::cast<ScalarAttr>(attribute);
    trace.scalars.push_back(
        {scalar.getName().str(), dtypeOf(scalar.getType()).value_or(DType::f64)});
  }
  return trace;
}

bool usesDeclarations(lang::Opcode op) {
  using lang::Opcode;
  return op == Opcode::kExtent || op == Opcode::kScalarArg ||
         (op >= Opcode::kLoad && op <= Opcode::kAtomicAdd);
}

LogicalResult collectTypes(mlir::Operation* op, mlir::TypeRange types,
                           llvm::SmallVectorImpl<lang::TileType>& out) {
  for (Type type : types) {
    const auto converted = tileType(type);
    if (!converted) return op->emitOpError() << type << " is no type of the tile language";
    if (const std::string text = converted->shape.defect(); !text.empty())
      return op->emitOpError() << type << ": " << text;
    out.push_back(*converted);
  }
  return success();
}

bool isIndex(Value value) { return tileType(value.getType()) == lang::TileType{DType::i64, {}}; }

}  // namespace

LogicalResult verifyNode(mlir::Operation* op) {
  const auto opcode = opcodeOf(op);
  if (!opcode) return op->emitOpError("is no opcode of the tile language");
  llvm::SmallVector<lang::TileType> operands, results;
  if (failed(collectTypes(op, op->getOperandTypes(), operands)) ||
      failed(collectTypes(op, op->getResultTypes(), results)))
    return failure();
  lang::Trace declarations;
  if (usesDeclarations(*opcode)) {
    auto kernel = op->getParentOfType<KernelOp>();
    if (!kernel) return op->emitOpError("outside of a kernel");
    declarations = declarationsOf(kernel);
  }
  const auto ints = intsOf(op, *opcode);
  const std::string text = lang::check_node(declarations, {*opcode,
                                                           {operands.data(), operands.size()},
                                                           {results.data(), results.size()},
                                                           {ints.data(), ints.size()}});
  if (!text.empty()) return op->emitError(text);
  return success();
}

LogicalResult KernelOp::verify() {
  const auto claim = [&](llvm::StringRef name, int64_t first, int64_t count) -> LogicalResult {
    if (first + count <= static_cast<int64_t>(getSlots())) return success();
    return emitOpError() << "'" << name << "' ends behind the " << getSlots() << " slots";
  };
  for (mlir::Attribute attribute : getViews()) {
    const auto view = llvm::dyn_cast<ViewAttr>(attribute);
    if (!view) return emitOpError() << attribute << " is no view";
    const int64_t rank = static_cast<int64_t>(view.getExtents().size());
    if (!dtypeOf(view.getType()))
      return emitOpError() << view << " has no dtype of the tile language";
    if (rank < 1 || static_cast<int64_t>(view.getStrides().size()) != rank - 1)
      return emitOpError() << view << " needs one extent and one stride less";
    if (failed(claim(view.getName(), view.getSlot(), 2 * rank))) return failure();
  }
  for (mlir::Attribute attribute : getScalars()) {
    const auto scalar = llvm::dyn_cast<ScalarAttr>(attribute);
    if (!scalar) return emitOpError() << attribute << " is no scalar";
    if (failed(claim(scalar.getName(), scalar.getSlot(), 1))) return failure();
  }
  if (getBody().front().empty() || !llvm::isa<YieldOp>(getBody().front().back()))
    return emitOpError("does not end in tile.yield");
  return success();
}

LogicalResult YieldOp::verify() {
  mlir::TypeRange expected = (*this)->getParentOp()->getResultTypes();
  if (getOperandTypes() == expected) return success();
  return emitOpError() << "yields (" << getOperandTypes() << ") where (" << expected
                       << ") is expected";
}

LogicalResult ForOp::verify() {
  for (Value bound : {getLo(), getHi(), getStep()})
    if (!isIndex(bound)) return emitOpError("has a bound that is not an i64 scalar");
  mlir::Block& block = getBody().front();
  if (block.getNumArguments() != getInits().size() + 1 || !isIndex(block.getArgument(0)) ||
      mlir::TypeRange(block.getArgumentTypes()).drop_front() != mlir::TypeRange(getInits()) ||
      mlir::TypeRange(getInits()) != getResultTypes())
    return emitOpError("carried values, parameters and results do not have the same types");
  return success();
}

LogicalResult IfOp::verify() {
  if (tileType(getCondition().getType()) == lang::TileType{DType::i1, {}}) return success();
  return emitOpError("has a condition that is not an i1 scalar");
}

// ---- folding ----

OpFoldResult CastOp::fold(FoldAdaptor) { return getX().getType() == getType() ? getX() : Value(); }

OpFoldResult BitcastOp::fold(FoldAdaptor) {
  return getX().getType() == getType() ? getX() : Value();
}

OpFoldResult BroadcastOp::fold(FoldAdaptor) {
  return getX().getType() == getType() ? getX() : Value();
}

OpFoldResult SliceOp::fold(FoldAdaptor) { return getX().getType() == getType() ? getX() : Value(); }

OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  if (getX().getType() == getType()) return getX();
  if (auto inner = getX().getDefiningOp<ReshapeOp>()) {
    setOperand(inner.getX());
    return getResult();
  }
  return {};
}

}  // namespace tessera::compiler::tile
