// SPDX-License-Identifier: Apache-2.0
// How the ints of a trace node appear as attributes of the operation with the same mnemonic. The
// importer writes by this table, the verifier reads by it.
#pragma once

#include <optional>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "mlir/IR/Operation.h"
#include "tessera/lang/opcode.h"

namespace tessera::compiler::tile {

struct NodeAttribute {
  enum class Kind {
    kInt,
    kInts,  // all that remain
    kPredicate,
    kReduction,
    kMaskFlag,  // no attribute: whether the operation has a mask
  };
  llvm::StringRef name;
  Kind kind = Kind::kInt;
};

llvm::ArrayRef<NodeAttribute> attributesOf(lang::Opcode op);

/// The opcode of an operation of the dialect; none for kernel and yield.
std::optional<lang::Opcode> opcodeOf(mlir::Operation* op);

/// Node::ints of an operation.
llvm::SmallVector<int64_t> intsOf(mlir::Operation* op, lang::Opcode opcode);

}  // namespace tessera::compiler::tile
