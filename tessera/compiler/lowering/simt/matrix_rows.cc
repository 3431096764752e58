// SPDX-License-Identifier: Apache-2.0
// Matrix loops of up to 8 rows of activations. The product is a read of the other operand, so every
// thread decodes what it read, 16 bytes at once, in its registers, and mma.sync adds up: its 16
// rows are rows of b, its 8 columns rows of a. Which elements of K a lane holds is free as long as
// both operands agree. Warps share K, and their sums meet in workgroup memory after the loop.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/mma_sync.h"
#include "tessera/compiler/lowering/simt/scope.h"

namespace tessera::compiler::simt {

namespace scf = mlir::scf;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kColumns = 8;  // of an mma

}  // namespace

/// The scales of an operand in `layout`, one for each register of what load() calls the layout of
/// groups; `scale` may be null.
SmallVector<Value> KernelLowering::scaleCodes(Operation* operand, Operation* scale,
                                              const Layout& layout) {
  if (!scale) return {};
  const Grouped grouped{shapeOf(operand->getResult(0)), shapeOf(scale->getResult(0))};
  const int64_t known = std::exchange(leadingAligned_, 0);  // of the operands alone
  SmallVector<Value> codes = load(scale, layout.renamed(grouped)).values;
  leadingAligned_ = known;
  return codes;
}

/// The operand in `layout` as pairs of bf16, times its scales, from what loadWords() and
/// scaleCodes() brought.
SmallVector<Value> KernelLowering::pairsOf(Operation* operand, Operation* scale,
                                           const Layout& layout, mlir::ValueRange words,
                                           mlir::ValueRange codes) {
  const DType dtype = dtypeOf(operand->getResult(0));
  SmallVector<Value> pairs;
  for (Value word : words) llvm::append_range(pairs, bf16Pairs(e_, dtype, word));
  if (!scale) return pairs;
  const Grouped grouped{shapeOf(operand->getResult(0)), shapeOf(scale->getResult(0))};
  const Layout groups = layout.renamed(grouped);
  SmallVector<Value> factors;
  for (Value code : codes) factors.push_back(scalePair(e_, code));
  for (auto [number, pair] : llvm::enumerate(pairs)) {
    int64_t position = 0;
    for (auto [i, bit] : llvm::enumerate(layout.registers))
      if (const int to = grouped(bit); ((2 * number >> i) & 1) && to >= 0)
        position |= int64_t{1} << to;
    pair = multiplyPairs(e_, pair, factors[groups.registerOf(position)]);
  }
  return pairs;
}

/// The sums of all warps: [N, 8] each in workgroup memory, then added in order.
Registers KernelLowering::sumOfWarps(const MatrixLoop& loop, const RowsPlan& plan,
                                     mlir::ValueRange sums) {
  ForOp op = loop.loop;
  const Value result = op.getResult(0);
  const Layout& layout = *layouts_.of(result);
  const int64_t each = loop.n * kColumns;
  const Array parts = shared_.allocate(e_.loc, DType::f32, each << plan.warpBits);
  shared_.beforeWrite(e_.loc, parts);
  const Value lane = e_.andi(thread_, 31), warp = e_.shr(thread_, 5);
  const Value first = e_.add(e_.mul(warp, e_.i32(each)),
                             e_.add(e_.shl(e_.shr(lane, 2), 3), e_.shl(e_.andi(lane, 3), 1)));
  for (auto [i, sum] : llvm::enumerate(sums)) {
    const auto block = static_cast<int64_t>(i) / kMmaSums,
               part = static_cast<int64_t>(i) % kMmaSums;
    const int64_t row = 16 * block + 8 * (part / 2);
    memory_.store(e_.loc, sum, parts, e_.add(first, e_.i32(row * kColumns + part % 2)));
  }
  shared_.beforeRead(e_.loc, parts);
  const lang::TileShape shape = shapeOf(result);
  Registers total = get(op.getInits()[0], layout);
  const Value element =
      e_.add(e_.shl(threadIndex(layout, shape, 1), 3), threadIndex(layout, shape, 0));
  for (auto [r, value] : llvm::enumerate(total.values)) {
    const auto number = static_cast<int64_t>(r);
    const Value own = e_.add(element, e_.i32(kColumns * registerIndex(layout, shape, 1, number) +
                                             registerIndex(layout, shape, 0, number)));
    for (int64_t w = 0; w < int64_t{1} << plan.warpBits; ++w)
      value = e_.add(value, memory_.load(e_.loc, parts, e_.add(own, e_.i32(w * each))));
  }
  return total;
}

void KernelLowering::lowerMatrixRows(const MatrixLoop& loop) {
  ForOp op = loop.loop;
  const RowsPlan plan = rowsPlan(loop);
  // Row numbers are brought where the loop wants them before it begins.
  if (auto gather = llvm::dyn_cast<GatherOp>(loop.a))
    get(gather.getRows(), plan.a.renamed(Closed{0, bitCount(shapeOf(gather.getResult()), 1)}));
  const SmallVector<mlir::Type> types(static_cast<size_t>(kMmaSums * loop.n / 16), e_.f32());
  const SmallVector<Value> sums =
      alignedVersions({loop.a, loop.b}, types, [&] { return sumsOfThread(loop, plan); });
  shared_.forget();
  set(op.getResult(0), sumOfWarps(loop, plan, sums));
}

/// Adds up sums over the turns of a loop: `turn` gives those after a turn from those before it, its
/// scalars lowered. Addresses are computed in each turn: kept over all of them, they would take
/// every register.
SmallVector<Value> KernelLowering::sumsOfTurns(
    ForOp loop, int64_t count, llvm::function_ref<SmallVector<Value>(mlir::ValueRange)> turn) {
  const SmallVector<Value> none(static_cast<size_t>(count), e_.f32(0));
  auto lowered = scf::ForOp::create(e_.builder, e_.loc, scalar(loop.getLo()), scalar(loop.getHi()),
                                    scalar(loop.getStep()), none);
  const Scope scope(*this);
  mlir::OpBuilder::InsertionGuard guard(e_.builder);
  e_.builder.setInsertionPointToEnd(lowered.getBody());
  mlir::Block& body = loop.getBody().front();
  scalars_[body.getArgument(0)] = lowered.getInductionVar();
  const Value thread = std::exchange(thread_, memory_.opaque(e_.loc, thread_));
  for (Operation& inner : body.without_terminator())
    if (inner.getNumResults() == 1 && isScalar(inner.getResult(0))) lowerScalar(&inner);
  scf::YieldOp::create(e_.builder, e_.loc, turn(lowered.getRegionIterArgs()));
  thread_ = thread;
  return lowered.getResults();
}

/// The sums of this thread, in the order of the instruction, 16 rows of b after 16 rows.
SmallVector<Value> KernelLowering::sumsOfThread(const MatrixLoop& loop, const RowsPlan& plan) {
  const int64_t blocks = loop.n / 16;
  return sumsOfTurns(loop.loop, kMmaSums * blocks, [&](mlir::ValueRange before) {
    const auto bring = [&](Operation* operand, Operation* scale, const Layout& layout) {
      const SmallVector<Value> words = loadWords(operand, layout);
      return pairsOf(operand, scale, layout, words, scaleCodes(operand, scale, layout));
    };
    const SmallVector<Value> b = bring(loop.b, loop.bScale, plan.b);
    const SmallVector<Value> a = bring(loop.a, loop.aScale, plan.a);
    SmallVector<Value> sums(before);
    const size_t perRow = a.size();
    for (int64_t block = 0; block < blocks; ++block) {
      const auto rows = llvm::ArrayRef(b).slice(2 * block * perRow, 2 * perRow);
      const auto mine = llvm::MutableArrayRef(sums).slice(kMmaSums * block, kMmaSums);
      for (size_t i = 0; i < perRow; i += 2)
        llvm::copy(multiplyAdd(e_, PairType::kBf16,
                               {rows[i], rows[perRow + i], rows[i + 1], rows[perRow + i + 1]},
                               {a[i], a[i + 1]}, mine),
                   mine.begin());
    }
    return sums;
  });
}

}  // namespace tessera::compiler::simt
