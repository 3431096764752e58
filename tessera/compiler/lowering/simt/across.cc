// SPDX-License-Identifier: Apache-2.0
// Scans, histograms and sorts: in the workgroup's memory.
#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/ordering.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using llvm::SmallVector;
using mlir::Value;
using namespace tile;  // the dialect's operations

/// In log2(n) steps: each adds the partial sum that ends `step` elements before.
void KernelLowering::lowerScan(ScanOp op) {
  const lang::TileShape shape = shapeOf(op.getX());
  const auto axis = static_cast<int>(op.getAxis());
  const Layout& layout = *layouts_.of(op.getResult());
  const int64_t count = layout.registerCount();
  const Array sums = spill(get(op.getX(), layout), dtypeOf(op.getX()), shape);
  const Value position = threadPosition(layout), index = threadIndex(layout, shape, axis);
  loop32(e_, e_.i32(0), e_.i32(bitCount(shape, axis)), e_.i32(1), {},
         [&](Value turn, mlir::ValueRange) {
           const Value step = arith::ShLIOp::create(e_.builder, e_.loc, e_.i32(1), turn);
           const Value back = e_.shl(step, firstBit(shape, axis));
           SmallVector<Value> fresh;
           for (int64_t r = 0; r < count; ++r) {
             const Value own = e_.ori(position, layout.registerOffset(r));
             const Value at = e_.ori(index, registerIndex(layout, shape, axis, r));
             const Value has = e_.compare(arith::CmpIPredicate::uge, at, step);
             const Value before = e_.select(has, e_.sub(own, back), own);
             const Value value = memory_.load(e_.loc, sums, own);
             const Value sum = e_.add(memory_.load(e_.loc, sums, before), value);
             fresh.push_back(e_.select(has, sum, value));
           }
           memory_.barrier(e_.loc);
           for (int64_t r = 0; r < count; ++r)
             memory_.store(e_.loc, fresh[r], sums, e_.ori(position, layout.registerOffset(r)));
           memory_.barrier(e_.loc);
           return SmallVector<Value>();
         });
  set(op.getResult(), read(sums, layout));
}

void KernelLowering::lowerHistogram(HistogramOp op) {
  const Layout& layout = *layouts_.of(op.getResult());
  const Array bins = shared_.allocate(e_.loc, DType::i32, shapeOf(op.getResult()).numel());
  const SmallVector<Value> zeros(static_cast<size_t>(layout.registerCount()), e_.i32(0));
  write({layout, zeros}, bins);
  const Registers values = get(op.getX());
  const Registers mask = op.getMask() ? get(op.getMask(), values.layout) : Registers();
  shared_.beforeWrite(e_.loc, bins);
  const Value acts = actsForCopies(values.layout);
  for (auto [r, bin] : llvm::enumerate(values.values)) {
    Value counted = e_.compare(arith::CmpIPredicate::ult, bin, e_.i32(bins.count));
    if (acts) counted = e_.andi(counted, acts);
    if (op.getMask()) counted = e_.andi(counted, mask.values[r]);
    e_.ifThen(counted, [&] { memory_.atomicAddShared(e_.loc, e_.i32(1), bins, bin); });
  }
  set(op.getResult(), read(bins, layout));
}

/// A bitonic network over both arrays.
void KernelLowering::lowerSort(SortOp op) {
  const lang::TileType type = typeOf(op.getKey());
  const int64_t n = type.shape.last(), pairs = type.shape.numel() / 2;
  const bool is_float = type.dtype == DType::f32;
  const Array keys = spill(get(op.getKey()), type.dtype, type.shape);
  const Array values = spill(get(op.getValue()), dtypeOf(op.getValue()), type.shape);

  // Whether (ka, va) belongs behind (kb, vb).
  const auto behind = [&](Value ka, Value va, Value kb, Value vb) {
    Value after, equal;
    if (is_float) {
      const auto order = op.getDescending() ? arith::CmpFPredicate::OLT : arith::CmpFPredicate::OGT;
      const Value a_nan = isNan(e_, ka), b_nan = isNan(e_, kb);
      after = e_.ori(e_.compare(order, ka, kb), e_.andi(a_nan, e_.xori(b_nan, 1)));
      equal = e_.ori(e_.compare(arith::CmpFPredicate::OEQ, ka, kb), e_.andi(a_nan, b_nan));
    } else {
      const bool is_unsigned = type.dtype == DType::u32;
      const auto order =
          op.getDescending()
              ? (is_unsigned ? arith::CmpIPredicate::ult : arith::CmpIPredicate::slt)
              : (is_unsigned ? arith::CmpIPredicate::ugt : arith::CmpIPredicate::sgt);
      after = e_.compare(order, ka, kb);
      equal = e_.compare(arith::CmpIPredicate::eq, ka, kb);
    }
    return e_.ori(after, e_.andi(equal, e_.compare(arith::CmpIPredicate::sgt, va, vb)));
  };
  const auto power = [&](Value exponent) -> Value {
    return arith::ShLIOp::create(e_.builder, e_.loc, e_.i32(1), exponent);
  };
  shared_.barrier(e_.loc);
  // Loops, not log2(n)^2 / 2 copies: drivers compile long straight code slowly.
  loop32(
      e_, e_.i32(1), e_.i32(llvm::Log2_64(n) + 1), e_.i32(1), {},
      [&](Value merge, mlir::ValueRange) {
        const Value size = power(merge);
        loop32(e_, e_.i32(0), merge, e_.i32(1), {}, [&](Value turn, mlir::ValueRange) {
          const Value stride = power(e_.sub(e_.sub(merge, e_.i32(1)), turn));
          forEach(pairs, [&](Value pair) {
            // Pair number -> first element: a zero bit is inserted at the stride's place.
            const Value low = e_.andi(pair, e_.sub(stride, e_.i32(1)));
            const Value a = e_.add(e_.shl(e_.sub(pair, low), 1), low), b = e_.add(a, stride);
            const Value ka = memory_.load(e_.loc, keys, a), kb = memory_.load(e_.loc, keys, b);
            const Value va = memory_.load(e_.loc, values, a), vb = memory_.load(e_.loc, values, b);
            // The last merge (size = n) runs forward in every row.
            const Value backward =
                e_.compare(arith::CmpIPredicate::ne, e_.andi(e_.andi(a, n - 1), size), e_.i32(0));
            const Value swap = e_.select(backward, behind(kb, vb, ka, va), behind(ka, va, kb, vb));
            memory_.store(e_.loc, e_.select(swap, kb, ka), keys, a);
            memory_.store(e_.loc, e_.select(swap, ka, kb), keys, b);
            memory_.store(e_.loc, e_.select(swap, vb, va), values, a);
            memory_.store(e_.loc, e_.select(swap, va, vb), values, b);
          });
          memory_.barrier(e_.loc);
          return SmallVector<Value>();
        });
        return SmallVector<Value>();
      });
  set(op.getKeys(), read(keys, *layouts_.of(op.getKeys())));
  set(op.getValues(), read(values, *layouts_.of(op.getValues())));
}

}  // namespace tessera::compiler::simt
