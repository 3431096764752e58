// SPDX-License-Identifier: Apache-2.0
// Where the elements of a thread lie in a tile.
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using lang::TileShape;
using mlir::Value;

namespace {

/// The thread number's bits moved to the position bits [first, first + count), counted from
/// `first`.
Value gatherBits(Emitter& e, Value thread, const Layout& layout, int first, int count) {
  Value sum;
  const auto& bits = layout.threads;
  for (size_t t = 0; t < bits.size();) {
    if (bits[t] < first || bits[t] >= first + count) {
      ++t;
      continue;
    }
    // A run of thread bits that stay in order moves as one.
    size_t end = t + 1;
    while (end < bits.size() && bits[end] == bits[end - 1] + 1 && bits[end] < first + count) ++end;
    Value part = e.shr(thread, static_cast<int64_t>(t));
    if (end < bits.size()) part = e.andi(part, (int64_t{1} << (end - t)) - 1);
    part = e.shl(part, bits[t] - first);
    sum = sum ? e.ori(sum, part) : part;
    t = end;
  }
  return sum ? sum : e.i32(0);
}

}  // namespace

Value KernelLowering::threadBit(int bit) {
  return e_.compare(arith::CmpIPredicate::ne, e_.andi(thread_, int64_t{1} << bit), e_.i32(0));
}

Value KernelLowering::threadPosition(const Layout& layout) {
  return gatherBits(e_, thread_, layout, 0, 64);
}

Value KernelLowering::threadIndex(const Layout& layout, const TileShape& shape, int dim) {
  return gatherBits(e_, thread_, layout, firstBit(shape, dim), bitCount(shape, dim));
}

int64_t KernelLowering::registerIndex(const Layout& layout, const TileShape& shape, int dim,
                                      int64_t number) {
  return (layout.registerOffset(number) >> firstBit(shape, dim)) & (shape[dim] - 1);
}

Value KernelLowering::actsForCopies(const Layout& layout) {
  int64_t mask = 0;
  for (size_t t = 0; t < layout.threads.size(); ++t)
    if (layout.threads[t] == Layout::kCopies) mask |= int64_t{1} << t;
  if (mask == 0) return {};
  return e_.compare(arith::CmpIPredicate::eq, e_.andi(thread_, mask), e_.i32(0));
}

}  // namespace tessera::compiler::simt
