// SPDX-License-Identifier: Apache-2.0
// Products of tiles by FMA: both operands pass, widened and scaled, through the workgroup's memory;
// a thread adds up a block of rows and columns.
#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/lane_product.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using lang::TileShape;
using llvm::SmallVector;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// Steps of K in one turn of the inner loop.
constexpr int64_t kUnroll = 4;

/// An operand: which dimension of its tile runs along K, and which along the result.
struct Side {
  Registers registers;
  TileShape shape;
  int k, row;
};

}  // namespace

/// a or b in registers as the accumulator's type, times its scales.
Registers KernelLowering::operandOf(mlir::Operation* op, int number, std::optional<Layout> layout) {
  const Value tile = op->getOperand(number);
  const DType dtype = dtypeOf(tile), sum = dtypeOf(op->getOperand(2));
  Registers operand = layout ? get(tile, *layout) : get(tile);
  for (Value& value : operand.values)
    if (dtype != sum) value = convert(e_, dtype, sum, value);
  auto scaled = llvm::dyn_cast<DotScaledOp>(op);
  if (!scaled) return operand;
  const Value scale = number == 0 ? scaled.getAScale() : scaled.getBScale();
  if (!scale) return operand;
  const Grouped grouped{shapeOf(tile), shapeOf(scale)};
  const Registers scales = get(scale, operand.layout.renamed(grouped));
  for (int64_t r = 0; r < operand.layout.registerCount(); ++r) {
    int64_t position = 0;
    for (auto [i, bit] : llvm::enumerate(operand.layout.registers))
      if (const int to = grouped(bit); ((r >> i) & 1) && to >= 0) position |= int64_t{1} << to;
    Value factor = scales.values[scales.layout.registerOf(position)];
    if (dtypeOf(scale) != DType::f32) factor = convert(e_, dtypeOf(scale), DType::f32, factor);
    operand.values[r] = e_.mul(operand.values[r], factor);
  }
  return operand;
}

void KernelLowering::lowerDot(mlir::Operation* op) {
  if (const auto product = laneProduct(op, target_)) return lowerLaneProduct(op, *product);
  auto dot = llvm::dyn_cast<DotOp>(op);
  const bool b_is_kn = dot && dot.getBIsKn();
  const Side a{operandOf(op, 0), shapeOf(op->getOperand(0)), 1, 0};
  const Side b{operandOf(op, 1), shapeOf(op->getOperand(1)), b_is_kn ? 0 : 1, b_is_kn ? 1 : 0};
  const TileShape out = shapeOf(op->getResult(0));
  const DType sum_dtype = dtypeOf(op->getResult(0));
  const Layout& layout = *layouts_.of(op->getResult(0));
  const int64_t k_total = a.shape[1], words_a_k = out[0] + out[1];
  // A piece of K at a time, as much as a part of the memory holds.
  const int64_t room = std::min<int64_t>(target_.sharedBytes / 4 - shared_.top(), 8192);
  int64_t piece = k_total;
  while (piece > 1 && piece * words_a_k > room) piece /= 2;
  const Array pa = shared_.allocate(e_.loc, sum_dtype, piece * out[0]);
  const Array pb = shared_.allocate(e_.loc, sum_dtype, piece * out[1]);

  const auto stage = [&](const Side& side, const Array& to, int64_t first) {
    const Layout& from = side.registers.layout;
    const Value k = threadIndex(from, side.shape, side.k);
    const Value row = threadIndex(from, side.shape, side.row);
    const int64_t rows = side.shape[side.row];
    // Elements of the piece: those whose upper bits of k match, in the thread and in the register.
    const int64_t upper = k_total - piece;
    int64_t threadUpper = 0;
    for (int bit : from.threads)
      if (bit >= firstBit(side.shape, side.k) &&
          bit < firstBit(side.shape, side.k) + bitCount(side.shape, side.k))
        threadUpper |= int64_t{1} << (bit - firstBit(side.shape, side.k));
    threadUpper &= upper;
    const auto put = [&] {
      const Value base = e_.add(e_.shl(e_.andi(k, piece - 1), llvm::Log2_64(rows)), row);
      for (int64_t r = 0; r < from.registerCount(); ++r) {
        const int64_t at = registerIndex(from, side.shape, side.k, r);
        if ((at & upper) != (first & upper & ~threadUpper)) continue;
        const int64_t offset =
            (at & (piece - 1)) * rows + registerIndex(from, side.shape, side.row, r);
        memory_.store(e_.loc, side.registers.values[r], to, e_.add(base, e_.i32(offset)));
      }
    };
    shared_.beforeWrite(e_.loc, to);
    if (threadUpper == 0) return put();
    e_.ifThen(
        e_.compare(arith::CmpIPredicate::eq, e_.andi(k, threadUpper), e_.i32(first & threadUpper)),
        put);
  };

  SmallVector<int64_t> rows, columns;  // of this thread's registers, without repeats
  for (int64_t r = 0; r < layout.registerCount(); ++r) {
    const int64_t row = registerIndex(layout, out, 0, r), column = registerIndex(layout, out, 1, r);
    if (!llvm::is_contained(rows, row)) rows.push_back(row);
    if (!llvm::is_contained(columns, column)) columns.push_back(column);
  }
  const Value thread_row = threadIndex(layout, out, 0), thread_column = threadIndex(layout, out, 1);
  Registers sums = get(op->getOperand(2), layout);
  for (int64_t first = 0; first < k_total; first += piece) {
    stage(a, pa, first);
    stage(b, pb, first);
    shared_.beforeRead(e_.loc, {pa, pb});
    const int64_t unroll = std::min(kUnroll, piece);
    sums.values = loop32(e_, e_.i32(0), e_.i32(piece), e_.i32(unroll), sums.values,
                         [&](Value k0, mlir::ValueRange now) {
                           SmallVector<Value> next(now.begin(), now.end());
                           for (int64_t step = 0; step < unroll; ++step) {
                             const Value k = e_.add(k0, e_.i32(step));
                             const auto fetch = [&](const Array& from, int64_t extent, Value thread,
                                                    llvm::ArrayRef<int64_t> offsets) {
                               llvm::SmallDenseMap<int64_t, Value> found;
                               const Value base = e_.add(e_.shl(k, llvm::Log2_64(extent)), thread);
                               for (int64_t offset : offsets)
                                 found[offset] =
                                     memory_.load(e_.loc, from, e_.add(base, e_.i32(offset)));
                               return found;
                             };
                             auto left = fetch(pa, out[0], thread_row, rows);
                             auto right = fetch(pb, out[1], thread_column, columns);
                             for (int64_t r = 0; r < layout.registerCount(); ++r) {
                               const Value x = left[registerIndex(layout, out, 0, r)];
                               const Value y = right[registerIndex(layout, out, 1, r)];
                               next[r] = sum_dtype == DType::f32 ? e_.fma(x, y, next[r])
                                                                 : e_.add(next[r], e_.mul(x, y));
                             }
                           }
                           return next;
                         });
  }
  set(op->getResult(0), {layout, sums.values});
}

}  // namespace tessera::compiler::simt
