// SPDX-License-Identifier: Apache-2.0
// Matrix loops: several stages of both operands in workgroup memory, copied there without passing
// through registers some turns ahead, and multiplied from there by the matrix unit.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/scope.h"
#include "tessera/compiler/lowering/simt/window.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kRowBytes = 128;
constexpr int64_t kTileAlignment = 1024;
/// Turns between the copy of a stage and its use; the matrix unit still reads one behind.
constexpr int64_t kMostStages = 6, kLeastStages = 3;

/// Registers of a layout are in the order of their positions, the instruction's sums by row last
/// but one: d[4j + 2h + c] is row half h, column 8j + c.
int64_t sumOf(int64_t number, int64_t count) {
  const int64_t column = number & 1, half = number >= count / 2 ? 1 : 0;
  const int64_t block = (number & (count / 2 - 1)) >> 1;
  return 4 * block + 2 * half + column;
}

}  // namespace

/// Copies one stage of an operand to `offset` bytes (a multiple of 1024) into the memory: 8 threads
/// a row, and 16 bytes of row r at the place that is exclusive or of the place and r mod 8.
/// Elements that are not aligned pass through registers.
void KernelLowering::copyStage(LoadOp load, const Array& memory, Value offset) {
  Hopper hopper(e_.builder);
  const lang::TileShape shape = shapeOf(load);
  const int wanted = static_cast<int>(llvm::Log2_64(128 / bits(dtypeOf(load))));
  const Layout layout = blockedLayout(shape, layouts_.threadBits(), wanted);
  const int vector = vectorBits(load.getView(), load.getOffsets(), load.getOverridden(),
                                load.getOverrides(), shape, layout, false);
  const Window w = window(load.getView(), load.getOffsets(), load.getOverridden(),
                          load.getOverrides(), shape, -1);
  const Value row = threadIndex(layout, shape, 0);
  const Value chunk = e_.shr(threadIndex(layout, shape, 1), wanted);
  const Value place = e_.shl(e_.xori(chunk, e_.andi(row, 7)), 4);
  const Value first = e_.add(offset, e_.add(e_.shl(row, 7), place));
  const Value base = memory_.sharedAddress(e_.loc, memory);
  for (int64_t r = 0; r < layout.registerCount(); r += int64_t{1} << wanted) {
    const Value to = e_.add(first, e_.i32(registerIndex(layout, shape, 0, r) * kRowBytes));
    if (vector == wanted) {
      const Chunk from = locate(w, layout, r, {});
      hopper.copyAsync(e_.loc, e_.add(base, to), from.address, from.inside);
      continue;
    }
    SmallVector<Value> values;
    for (int64_t i = 0; i < int64_t{1} << wanted; i += int64_t{1} << vector)
      llvm::append_range(values, readChunk(w, locate(w, layout, r + i, {}), vector,
                                           static_cast<int64_t>(load.getFill())));
    for (auto [i, word] : llvm::enumerate(packed(w.dtype, values)))
      memory_.store(e_.loc, word, memory, e_.add(e_.shr(to, 2), e_.i32(static_cast<int64_t>(i))));
  }
}

/// The scales of one turn: for the rows a thread holds, f32, times that of b.
Registers KernelLowering::turnScales(const MatrixLoop& loop, const Layout& rows) {
  Registers scales{rows, SmallVector<Value>(static_cast<size_t>(rows.registerCount()))};
  const auto multiply = [&](Value scale, const Layout& layout) {
    Registers own = get(scale, layout);
    for (auto [r, total] : llvm::enumerate(scales.values)) {
      Value factor = own.values[own.values.size() == 1 ? 0 : r];
      if (dtypeOf(scale) != DType::f32) factor = convert(e_, dtypeOf(scale), DType::f32, factor);
      total = total ? e_.mul(total, factor) : factor;
    }
  };
  if (loop.aScale) multiply(loop.aScale, rows);
  if (loop.bScale) multiply(loop.bScale, blockedLayout({}, layouts_.threadBits(), 0));
  return scales;
}

void KernelLowering::lowerMatrixLoop(const MatrixLoop& loop) {
  Hopper hopper(e_.builder);
  ForOp op = loop.loop;
  const Value result = op.getResult(0);
  const Layout& layout = *layouts_.of(result);
  const int64_t stageBytes = (loop.m + loop.n) * kRowBytes, sums = layout.registerCount();
  const int64_t stages =
      std::clamp((target_.sharedBytes - 4 * shared_.top()) / stageBytes, kLeastStages, kMostStages);
  const Array memory =
      shared_.allocate(e_.loc, DType::i32, stages * stageBytes / 4, kTileAlignment / 4);
  shared_.barrier(e_.loc);
  const Value base = memory_.sharedAddress(e_.loc, memory);
  const Value group = hopper.warpgroup(e_.loc, thread_);

  const Value lo = scalar(op.getLo()), step = scalar(op.getStep());
  const Value span = e_.maxSigned(e_.sub(scalar(op.getHi()), lo), e_.i64(0));
  const Value turns = e_.truncate(
      arith::DivUIOp::create(e_.builder, e_.loc, e_.sub(e_.add(span, step), 1), step), e_.i32());
  mlir::Block& body = op.getBody().front();
  // What the loop's scalars are in turn number `turn`.
  const auto enterTurn = [&](Value turn) {
    scalars_[body.getArgument(0)] = e_.add(lo, e_.mul(e_.zeroExtend(turn, e_.i64()), step));
    for (Operation& inner : body.without_terminator())
      if (inner.getNumResults() == 1 && isScalar(inner.getResult(0))) lowerScalar(&inner);
  };
  const auto copy = [&](Value turn, Value stage) {
    e_.ifThen(e_.compare(arith::CmpIPredicate::slt, turn, turns), [&] {
      enterTurn(turn);
      const Value to = e_.mul(stage, e_.i32(stageBytes));
      copyStage(loop.a, memory, to);
      copyStage(loop.b, memory, e_.add(to, e_.i32(loop.m * kRowBytes)));
    });
    hopper.commitCopies(e_.loc);
  };
  const int64_t ahead = stages - 2;  // turns
  for (int64_t i = 0; i < ahead; ++i) copy(e_.i32(i), e_.i32(i));

  Registers first = get(op.getInits()[0], layout);
  SmallVector<Value> carried(first.values);
  const Value zero = e_.i32(0);
  carried.append({zero, e_.i32(ahead)});  // the stages read and written
  const auto next = [&](Value stage) {
    const Value more = e_.add(stage, e_.i32(1));
    return e_.select(e_.compare(arith::CmpIPredicate::eq, more, e_.i32(stages)), zero, more);
  };
  auto results = loop32(e_, zero, turns, e_.i32(1), carried, [&](Value turn, mlir::ValueRange now) {
    const Scope scope(*this);
    Hopper::Sums total(now.begin(), now.begin() + sums);
    const Value read = now[sums], written = now[sums + 1];
    Registers scales;
    Layout rows;
    if (loop.scaled()) {
      rows = layout.renamed(Closed{0, bitCount(shapeOf(result), 1)});
      enterTurn(turn);
      scales = turnScales(loop, rows);
    }
    hopper.waitForCopies(e_.loc, static_cast<int>(ahead - 1));
    memory_.barrier(e_.loc);
    const Value stage = e_.add(base, e_.mul(read, e_.i32(stageBytes)));
    const Value a = hopper.descriptor(e_.loc, e_.add(stage, e_.mul(group, e_.i32(64 * kRowBytes))));
    const Value b = hopper.descriptor(e_.loc, e_.add(stage, e_.i32(loop.m * kRowBytes)));
    const auto inOrder = [&](llvm::ArrayRef<Value> values) {
      Hopper::Sums ordered(values.size());
      for (int64_t r = 0; r < sums; ++r) ordered[sumOf(r, sums)] = values[r];
      return ordered;
    };
    if (!loop.scaled()) {
      const Hopper::Sums added =
          hopper.multiply(e_.loc, loop.dtype, loop.n, a, b, inOrder(total), /*pending=*/1, false);
      for (int64_t r = 0; r < sums; ++r) total[r] = added[sumOf(r, sums)];
      copy(e_.add(turn, e_.i32(ahead)), written);
    } else {
      const Hopper::Sums none(static_cast<size_t>(sums));
      const Hopper::Sums part =
          hopper.multiply(e_.loc, loop.dtype, loop.n, a, b, none, /*pending=*/0, true);
      copy(e_.add(turn, e_.i32(ahead)), written);
      // Partial sums of 128 of K, which the matrix unit keeps in less than f32, are promoted.
      for (int64_t r = 0; r < sums; ++r)
        total[r] = e_.fma(part[sumOf(r, sums)], scales.values[r >= sums / 2 ? 1 : 0], total[r]);
    }
    SmallVector<Value> yields(total);
    yields.append({next(read), next(written)});
    return yields;
  });
  Hopper::Sums total(results.begin(), results.begin() + sums);
  if (!loop.scaled()) total = hopper.waitForProducts(e_.loc, total);
  // Copies of turns that do not exist were never made, but their groups are open.
  hopper.waitForCopies(e_.loc, 0);
  shared_.barrier(e_.loc);
  set(result, {layout, SmallVector<Value>(total)});
}

}  // namespace tessera::compiler::simt
