// SPDX-License-Identifier: Apache-2.0
// Matrix loops on Vulkan: all threads bring the operands of the next turn to their registers while
// they multiply those of this one, decode them and store them as bf16 to workgroup memory, from
// where subgroups load them as cooperative matrices. The sums stay in such matrices until the loop
// ends.
#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/cooperative_matrix.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/scope.h"
#include "tessera/compiler/lowering/simt/spirv_halves.h"
#include "tessera/compiler/lowering/simt/turns.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kSize = CooperativeMatrix::kSize;
constexpr size_t kPieceWords = ThreadMemory::kPieceWords;
constexpr int64_t kPiece = 2 * kPieceWords;  // elements of bf16

}  // namespace

/// One operand of a loop as the threads bring it.
struct KernelLowering::StagedSide {
  Operation *operand, *scale;
  lang::TileShape shape;
  Layout layout;
  int64_t first, stride;        // words: from the start of the stage, from row to row
  size_t words = 0, codes = 0;  // of a thread, from loadWords() and scaleCodes()
};

KernelLowering::StagedSide KernelLowering::stagedSide(const MatrixLoop& loop, Operation* operand) {
  const CooperativePlan plan = cooperativePlan(loop);
  const bool isA = operand == loop.a;
  StagedSide side{operand, isA ? loop.aScale : loop.bScale, shapeOf(operand->getResult(0)),
                  {},      isA ? 0 : loop.m * plan.stride,  plan.stride};
  const int64_t width = bits(dtypeOf(operand->getResult(0)));
  const int64_t access = std::max(8 * target_.widestBytes / width, kPiece);
  side.layout =
      blockedLayout(side.shape, layouts_.threadBits(), static_cast<int>(llvm::Log2_64(access)),
                    static_cast<int>(llvm::Log2_64(kPiece)));
  side.words = static_cast<size_t>(side.layout.registerCount() * width / 32);
  if (side.scale)
    side.codes = static_cast<size_t>(
        side.layout.renamed(Grouped{side.shape, shapeOf(side.scale->getResult(0))})
            .registerCount());
  return side;
}

/// The elements times their scales as pairs of bf16, in which they are exact.
SmallVector<Value> KernelLowering::pairsOfSide(const StagedSide& side, mlir::ValueRange fetched) {
  const DType dtype = dtypeOf(side.operand->getResult(0));
  const mlir::ValueRange words = fetched.take_front(side.words);
  if (dtype == DType::bf16 && !side.scale) return SmallVector<Value>(words);
  SmallVector<Value> factors;
  for (Value code : fetched.drop_front(side.words))
    factors.push_back(decodeFloat(e_, DType::f8e8m0, code));
  // The elements of a word have one scale where it is of more than bf16.
  const auto factorOf = [&](int64_t number) -> Value {
    if (!side.scale) return {};
    const Grouped grouped{side.shape, shapeOf(side.scale->getResult(0))};
    const int64_t offset = side.layout.registerOffset(number);
    return factors[side.layout.renamed(grouped).registerOf(grouped.position(offset))];
  };
  SmallVector<Value> elements;
  for (Value word : words) {
    const Value factor = factorOf(static_cast<int64_t>(elements.size()));
    if (dtype != DType::bf16) {
      llvm::append_range(elements, floatsByHalves(e_, dtype, word, factor));
      continue;
    }
    for (Value code : unpacked(dtype, word, 2, {}))
      elements.push_back(e_.mul(decodeFloat(e_, dtype, code), factor));
  }
  SmallVector<Value> pairs;
  for (size_t i = 0; i < elements.size(); i += 2)
    pairs.push_back(e_.ori(e_.shr(e_.bitcast(elements[i], e_.i32()), 16),
                           e_.andi(e_.bitcast(elements[i + 1], e_.i32()), 0xffff0000)));
  return pairs;
}

void KernelLowering::depositSide(const StagedSide& side, mlir::ValueRange fetched,
                                 const Array& stages, Value stage) {
  const SmallVector<Value> pairs = pairsOfSide(side, fetched);
  const Value row = threadIndex(side.layout, side.shape, 0);
  const Value column = threadIndex(side.layout, side.shape, 1);
  const Value base = e_.add(stage, e_.add(e_.mul(row, e_.i32(side.stride)), e_.shr(column, 1)));
  for (size_t i = 0; i < pairs.size(); i += kPieceWords) {
    const auto number = 2 * static_cast<int64_t>(i);
    const int64_t offset = side.first +
                           registerIndex(side.layout, side.shape, 0, number) * side.stride +
                           registerIndex(side.layout, side.shape, 1, number) / 2;
    memory_.storePiece(e_.loc, llvm::ArrayRef(pairs).slice(i, kPieceWords), stages,
                       e_.add(base, e_.i32(offset)));
  }
}

/// Adds the products of a stage to the sums of this subgroup's block, row by row of matrices.
void KernelLowering::multiplyStage(const MatrixLoop& loop, const Array& stages, Value stage,
                                   mlir::ValueRange variables) {
  const CooperativePlan plan = cooperativePlan(loop);
  CooperativeMatrix matrix(e_.builder, memory_);
  const int64_t rows = plan.rows / kSize, columns = plan.columns / kSize;
  const Value group = memory_.subgroup(e_.loc);
  const Value firstRow =
      e_.mul(e_.shr(group, llvm::Log2_64(plan.columnGroups)), e_.i32(plan.rows * plan.stride));
  const Value firstColumn =
      e_.mul(e_.andi(group, plan.columnGroups - 1), e_.i32(plan.columns * plan.stride));
  const Value a = e_.add(stage, firstRow);
  const Value b = e_.add(stage, e_.add(firstColumn, e_.i32(loop.m * plan.stride)));
  SmallVector<Value> sums;
  for (Value variable : variables) sums.push_back(matrix.sums(e_.loc, variable));
  for (int64_t k = 0; k < loop.k; k += kSize) {
    const auto load = [&](CooperativeMatrix::Operand operand, Value first, int64_t number) {
      const Value word = e_.add(first, e_.i32(number * kSize * plan.stride + k / 2));
      return matrix.load(e_.loc, operand, stages, word, plan.stride);
    };
    SmallVector<Value> left;
    for (int64_t row = 0; row < rows; ++row)
      left.push_back(load(CooperativeMatrix::Operand::kA, a, row));
    for (int64_t column = 0; column < columns; ++column) {
      const Value right = load(CooperativeMatrix::Operand::kTurnedB, b, column);
      for (int64_t row = 0; row < rows; ++row) {
        Value& sum = sums[row * columns + column];
        sum = matrix.multiplyAdd(e_.loc, left[row], right, sum);
      }
    }
  }
  for (auto [sum, variable] : llvm::zip(sums, variables)) matrix.keepSums(e_.loc, sum, variable);
}

void KernelLowering::addTurns(const MatrixLoop& loop, mlir::ValueRange sums) {
  const CooperativePlan plan = cooperativePlan(loop);
  const StagedSide sides[2] = {stagedSide(loop, loop.a), stagedSide(loop, loop.b)};
  const Turns turns = turnsOf(loop);
  const auto fetch = [&](Value turn) {
    const Scope scope(*this);
    turns.enter(turn);
    SmallVector<Value> fetched;
    for (const StagedSide& side : sides) {
      llvm::append_range(fetched, loadWords(side.operand, side.layout));
      llvm::append_range(fetched, scaleCodes(side.operand, side.scale, side.layout));
    }
    return fetched;
  };
  // With two stages one is filled while others still read from the other one.
  const int64_t top = shared_.top();
  const bool two = 8 * plan.stageWords <= target_.sharedBytes - 4 * top;
  const Array stages = shared_.allocate(e_.loc, DType::i32, (two ? 2 : 1) * plan.stageWords);
  shared_.barrier(e_.loc);
  loop32(e_, e_.i32(0), turns.count, e_.i32(1), fetch(e_.i32(0)),
         [&](Value turn, mlir::ValueRange now) {
           const Value stage = two ? e_.mul(e_.andi(turn, 1), e_.i32(plan.stageWords)) : e_.i32(0);
           if (!two) shared_.barrier(e_.loc);
           for (const StagedSide& side : sides) {
             depositSide(side, now.take_front(side.words + side.codes), stages, stage);
             now = now.drop_front(side.words + side.codes);
           }
           shared_.barrier(e_.loc);
           const SmallVector<Value> next = fetch(e_.add(turn, e_.i32(1)));
           multiplyStage(loop, stages, stage, sums);
           return next;
         });
  shared_.release(top);
}

/// The sums in the threads' registers, 16 rows of each subgroup at a time.
Registers KernelLowering::sumsOfSubgroups(const MatrixLoop& loop, mlir::ValueRange variables) {
  const CooperativePlan plan = cooperativePlan(loop);
  ForOp op = loop.loop;
  const Value result = op.getResult(0);
  const Layout& layout = *layouts_.of(result);
  const lang::TileShape shape = shapeOf(result);
  CooperativeMatrix matrix(e_.builder, memory_);
  const int64_t top = shared_.top(), columns = plan.columns / kSize, stride = plan.sumStride();
  const Array parts = shared_.allocate(e_.loc, DType::f32, plan.sumWords());
  const Value own = e_.mul(memory_.subgroup(e_.loc), e_.i32(kSize * stride));
  const Value row = e_.andi(threadIndex(layout, shape, 0), kSize - 1);
  const Value column = e_.andi(threadIndex(layout, shape, 1), plan.columns - 1);
  const Value first = e_.add(own, e_.add(e_.mul(row, e_.i32(stride)), column));
  Registers total = get(op.getInits()[0], layout);
  for (int64_t block = 0; block < plan.rows; block += kSize) {
    shared_.beforeWrite(e_.loc, parts);
    for (int64_t i = 0; i < columns; ++i)
      matrix.store(e_.loc, matrix.sums(e_.loc, variables[block / kSize * columns + i]), parts,
                   e_.add(own, e_.i32(i * kSize)), stride);
    shared_.beforeRead(e_.loc, parts);
    for (auto [r, value] : llvm::enumerate(total.values)) {
      const auto number = static_cast<int64_t>(r);
      const int64_t at = registerIndex(layout, shape, 0, number);
      if (at / kSize * kSize != block) continue;
      const int64_t offset = at % kSize * stride + registerIndex(layout, shape, 1, number);
      value = e_.add(value, memory_.load(e_.loc, parts, e_.add(first, e_.i32(offset))));
    }
  }
  shared_.release(top);
  return total;
}

void KernelLowering::lowerCooperative(const MatrixLoop& loop) {
  const CooperativePlan plan = cooperativePlan(loop);
  // Row numbers are brought where the loop wants them before it begins.
  for (Operation* operand : {loop.a, loop.b}) {
    const StagedSide side = stagedSide(loop, operand);
    const auto bringRows = [&](Operation* load, const Layout& layout) {
      if (auto gather = llvm::dyn_cast_or_null<GatherOp>(load))
        get(gather.getRows(), layout.renamed(Closed{0, bitCount(shapeOf(gather.getResult()), 1)}));
    };
    bringRows(operand, side.layout);
    if (side.scale)
      bringRows(side.scale,
                side.layout.renamed(Grouped{side.shape, shapeOf(side.scale->getResult(0))}));
  }
  CooperativeMatrix matrix(e_.builder, memory_);
  SmallVector<Value> sums;
  for (int64_t i = 0; i < plan.rows / kSize * (plan.columns / kSize); ++i) {
    sums.push_back(matrix.declareSums(e_.loc));
    matrix.keepSums(e_.loc, matrix.zeros(e_.loc), sums.back());
  }
  alignedVersions({loop.a, loop.b}, {}, [&] {
    addTurns(loop, sums);
    return SmallVector<Value>();
  });
  shared_.forget();
  set(ForOp(loop.loop).getResult(0), sumsOfSubgroups(loop, sums));
}

}  // namespace tessera::compiler::simt
