// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/lane_product.h"

#include <algorithm>

#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int kSumBits = 5;     // log2 of the sums of a thread
constexpr int64_t kMostK = 16;  // a lane holds so much of each of its rows

}  // namespace

std::optional<LaneProduct> laneProduct(mlir::Operation* op, const SimtTarget& target) {
  auto dot = llvm::dyn_cast<DotOp>(op);
  if (!target.multipliesInLanes || !llvm::isa<DotOp, DotScaledOp>(op) || (dot && dot.getBIsKn()) ||
      tile::dtypeOf(op->getResult(0)) != DType::f32)
    return std::nullopt;
  LaneProduct found{shapeOf(op->getOperand(0)), shapeOf(op->getOperand(1)), target.laneBits,
                    static_cast<int>(llvm::Log2_64(target.threads))};
  if (found.a[1] > kMostK || bitCount(found.b, 0) < found.laneBits) return std::nullopt;
  return found;
}

int LaneProduct::exchangedRowBits() const { return std::min(laneBits, bitCount(a, 0)); }

int LaneProduct::threadBits() const {
  const int bits = bitCount(a, 0) + bitCount(b, 0);
  return std::clamp(bits - kSumBits, laneBits, mostThreadBits);
}

Layout LaneProduct::sums(int threadBits) const {
  const int columns = bitCount(b, 0), rows = bitCount(a, 0), bits = columns + rows;
  const int inThread = std::max(bits - threadBits, 0);
  const int columnRegisters = std::clamp(inThread - exchangedRowBits(), 0, columns - laneBits);
  const int rowRegisters = std::min(inThread - columnRegisters, rows);
  Layout layout;
  for (int bit = 0; bit < laneBits; ++bit) layout.threads.push_back(static_cast<int8_t>(bit));
  for (int bit = laneBits; bit < bits; ++bit) {
    const bool inRegister =
        bit < laneBits + columnRegisters || (bit >= columns && bit < columns + rowRegisters);
    (inRegister ? static_cast<llvm::SmallVectorImpl<int8_t>&>(layout.registers) : layout.threads)
        .push_back(static_cast<int8_t>(bit));
  }
  layout.threads.resize(static_cast<size_t>(threadBits), Layout::kCopies);
  return layout;
}

/// The rows or columns of an operand lie where those of the sums do, those that neighbours ask for
/// in lanes.
Layout LaneProduct::operand(const Layout& sums, bool isLeft) const {
  const int k = bitCount(a, 1), columns = bitCount(b, 0);
  const auto renamed = [&](int8_t bit) -> int8_t {
    if (bit == Layout::kCopies || (bit >= columns) != isLeft) return Layout::kCopies;
    return static_cast<int8_t>(k + bit - (isLeft ? columns : 0));
  };
  Layout layout;
  for (int bit = 0; bit < k; ++bit) layout.registers.push_back(static_cast<int8_t>(bit));
  for (int8_t bit : sums.registers) {
    const int8_t own = renamed(bit);
    const bool exchanged = isLeft && own < k + exchangedRowBits();
    if (own != Layout::kCopies && !exchanged) layout.registers.push_back(own);
  }
  for (int8_t bit : sums.threads) layout.threads.push_back(renamed(bit));
  if (isLeft)
    for (int bit = 0; bit < exchangedRowBits(); ++bit)
      layout.threads[static_cast<size_t>(bit)] = static_cast<int8_t>(k + bit);
  return layout;
}

Layout LaneProduct::left(int threadBits) const { return operand(sums(threadBits), true); }
Layout LaneProduct::right(int threadBits) const { return operand(sums(threadBits), false); }

/// Each sum adds its products in the order of K.
void KernelLowering::lowerLaneProduct(mlir::Operation* op, const LaneProduct& product) {
  const int threadBits = layouts_.threadBits();
  const Layout left = product.left(threadBits), right = product.right(threadBits);
  const Registers a = operandOf(op, 0, left), b = operandOf(op, 1, right);
  Registers sums = get(op->getOperand(2), product.sums(threadBits));
  const int k = bitCount(product.a, 1), columns = bitCount(product.b, 0);
  const int64_t exchanged = (int64_t{1} << product.exchangedRowBits()) - 1;
  for (int64_t step = 0; step < product.a[1]; ++step) {
    llvm::SmallDenseMap<int64_t, Value> rows;
    for (int64_t r = 0; r < sums.layout.registerCount(); ++r) {
      const int64_t position = sums.layout.registerOffset(r);
      const int64_t row = position >> columns, column = position & ((int64_t{1} << columns) - 1);
      Value& x = rows[row];
      if (!x)
        x = memory_.fromLane(e_.loc, a.values[left.registerOf(((row & ~exchanged) << k) | step)],
                             product.laneBits, static_cast<int>(row & exchanged));
      const Value y = b.values[right.registerOf((column << k) | step)];
      sums.values[r] = e_.fma(x, y, sums.values[r]);
    }
  }
  set(op->getResult(0), std::move(sums));
}

}  // namespace tessera::compiler::simt
