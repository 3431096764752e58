// SPDX-License-Identifier: Apache-2.0
// How elements lie in memory (views and scratch alike) and in registers.
//
//   dtype                     memory                 register lane
//   i1                        a byte, 0 or 1         i1
//   i8 u8 f8*                 a byte                 i8
//   f4e2m1                    a nibble, low first    i8, code in the low nibble
//   i16 bf16 f16              two bytes              i16
//   i32 u32 i64 f32           four or eight bytes    i32, i64, f32
#pragma once

#include "tessera/base/dtype.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler {

/// A number of which a part is known: dynamic + constant (dynamic may be null).
struct Index {
  mlir::Value dynamic;
  int64_t constant = 0;

  Index() = default;
  Index(int64_t value) : constant(value) {}
  Index(mlir::Value value, int64_t more = 0) : dynamic(value), constant(more) {}

  bool isConstant() const { return !dynamic; }
  Index operator+(int64_t more) const { return {dynamic, constant + more}; }
  bool operator==(const Index&) const = default;
  bool operator<(const Index& other) const {
    const void *mine = dynamic.getAsOpaquePointer(), *theirs = other.dynamic.getAsOpaquePointer();
    return mine != theirs ? mine < theirs : constant < other.constant;
  }
};

Index add(Emitter& e, Index a, Index b);
Index scale(Emitter& e, Index a, int64_t factor);
/// Division (rounded down) and remainder (not negative) of an index by a power of two.
Index divide(Emitter& e, Index a, int64_t power);
Index remainder(Emitter& e, Index a, int64_t power);
mlir::Value materialize(Emitter& e, Index a);  // i64
mlir::Value offset(Emitter& e, mlir::Value pointer, Index bytes);

/// Element type of a register lane.
mlir::Type laneType(Emitter& e, DType dtype);
inline mlir::Type laneType(Emitter& e, DType dtype, int64_t lanes) {
  return e.type(laneType(e, dtype), lanes);
}

/// Lanes of consecutive elements, the first at `first` elements behind `base`. f4e2m1: base lies on
/// a byte, and `first` is even unless a single lane is asked for.
mlir::Value loadLanes(Emitter& e, DType dtype, mlir::Value base, Index first, int64_t lanes,
                      unsigned align = 0);
void storeLanes(Emitter& e, DType dtype, mlir::Value value, mlir::Value base, Index first,
                unsigned align = 0, bool nonTemporal = false);
/// Only the lanes whose mask is set.
void storeMasked(Emitter& e, DType dtype, mlir::Value value, mlir::Value mask, mlir::Value base,
                 Index first);

/// A constant in every lane: `bits` as Node::ints of a constant has it (f32 bits or an integer).
mlir::Value splatConstant(Emitter& e, DType dtype, int64_t bits, int64_t lanes);
/// The same as it lies in memory, in the low bits; f4e2m1: in both nibbles.
uint64_t memoryPattern(DType dtype, int64_t bits);

}  // namespace tessera::compiler
