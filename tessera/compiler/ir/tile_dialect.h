// SPDX-License-Identifier: Apache-2.0
// C++ face of the tile dialect (tile_ops.td) and the mapping between its types and those of the
// tile language.
#pragma once

#include <optional>

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "tessera/base/dtype.h"
#include "tessera/lang/trace.h"

namespace tessera::compiler::tile {

/// Checks an operation by lang::check_node.
mlir::LogicalResult verifyNode(mlir::Operation* op);

template <class Op>
class ChecksTypes : public mlir::OpTrait::TraitBase<Op, ChecksTypes> {
 public:
  static mlir::LogicalResult verifyTrait(mlir::Operation* op) { return verifyNode(op); }
};

/// The element type that stands for a dtype.
mlir::Type elementType(mlir::MLIRContext* context, DType dtype);
/// None for element types outside the tile language.
std::optional<DType> dtypeOf(mlir::Type element);
mlir::RankedTensorType tensorType(mlir::MLIRContext* context, const lang::TileType& type);
std::optional<lang::TileType> tileType(mlir::Type type);

/// Element type of a value of the dialect.
DType dtypeOf(mlir::Value value);
lang::TileShape shapeOf(mlir::Value tile);
inline mlir::RankedTensorType typeOf(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType());
}
inline bool isScalar(mlir::Value value) { return typeOf(value).getRank() == 0; }

}  // namespace tessera::compiler::tile

#include "tessera/compiler/ir/tile_dialect.h.inc"
#include "tessera/compiler/ir/tile_enums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "tessera/compiler/ir/tile_attributes.h.inc"
#define GET_OP_CLASSES
#include "tessera/compiler/ir/tile_ops.h.inc"
