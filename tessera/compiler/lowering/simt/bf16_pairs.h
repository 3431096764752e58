// SPDX-License-Identifier: Apache-2.0
// Narrow floats as pairs of bf16 in words of 32 bits, by byte permutations and multiplications by
// powers of two of NVIDIA's chips. Exact; a NaN of e4m3 makes its whole word NaN.
#pragma once

#include <array>

#include "llvm/ADT/SmallVector.h"
#include "tessera/base/dtype.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

/// The elements of a word of packed bf16, e4m3 or e2m1, the first in the low half of the first
/// pair. A word's elements must belong to one sum of products.
llvm::SmallVector<mlir::Value> bf16Pairs(Emitter& e, DType dtype, mlir::Value word);
/// Two elements of 16 bits as a word.
mlir::Value pairOf(Emitter& e, mlir::Value low, mlir::Value high);
/// An e8m0 code (i8) as a factor for pairs.
mlir::Value scalePair(Emitter& e, mlir::Value code);
/// Element by element, each rounded once: exact while the product is a bf16 number.
mlir::Value multiplyPairs(Emitter& e, mlir::Value a, mlir::Value b);
/// Two f32 numbers rounded, negative ones to zero; NaN stays NaN.
mlir::Value nonNegativePair(Emitter& e, mlir::Value low, mlir::Value high);
/// NaN where one of the elements is.
mlir::Value maxPairs(Emitter& e, mlir::Value a, mlir::Value b);
mlir::Value minPairs(Emitter& e, mlir::Value a, mlir::Value b);
/// The elements of a pair in f32.
std::array<mlir::Value, 2> widenPair(Emitter& e, mlir::Value pair);
/// The pair whose low and high element two numbers of 16 bits are; null: none.
mlir::Value pairAround(mlir::Value low, mlir::Value high);

/// Two f32 numbers as pairs of bf16 whose sum they are, the largest first. No part of a number but
/// zero is zero, and all have its sign: so an infinite factor of it gives what it would give. An
/// infinity has it in its last part. Of numbers below 2^-110 bits below 2^-133 are lost.
std::array<mlir::Value, 3> bf16Parts(Emitter& e, mlir::Value first, mlir::Value second);

}  // namespace tessera::compiler::simt
