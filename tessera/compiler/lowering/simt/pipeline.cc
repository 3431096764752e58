// SPDX-License-Identifier: Apache-2.0
// Matrix loops of more than 8 rows on sm_90a: stages of both operands in workgroup memory as bf16,
// swizzled. One warpgroup fills them and does nothing else: what is bf16 already is copied past
// the registers, what is narrower is read one turn ahead, decoded and stored. The other warpgroups
// multiply from there, 64 rows each. Each stage has two barriers: one ends a phase when it is full,
// one when it is free. Both roles go through the programs of the workgroup by themselves, so that
// stages of the next one fill while the sums of the last are stored.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/scope.h"
#include "tessera/compiler/lowering/simt/window.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using arith::CmpIPredicate;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kPanel = 64, kRowBytes = 2 * kPanel;  // of K, a row of the swizzled tile
constexpr int64_t kPanelAlignment = 1024;
constexpr int kPieceBits = 3;  // 16 bytes of bf16

/// Number of the instruction's sum that a register holds: d[4 j + 2 h + c] is row half h, column
/// 8 j + c.
int64_t sumOf(const MatrixLoop& loop, const Layout& layout, int64_t number) {
  const int64_t position = layout.registerOffset(number);
  const int64_t low = position & (loop.n - 1), high = position / loop.n;
  const int64_t row = loop.turned() ? low : high, column = loop.turned() ? high : low;
  return 4 * (column >> 3) + 2 * ((row >> 3) & 1) + (column & 1);
}

}  // namespace

/// The turns of a loop, counted from 0.
struct KernelLowering::Turns {
  KernelLowering& lowering;
  mlir::Block* body;
  Value lo, step, count;  // i64, i64, i32

  /// What the loop's scalars are in turn number `turn`.
  void enter(Value turn) const {
    Emitter& e = lowering.e_;
    lowering.scalars_[body->getArgument(0)] = e.add(lo, e.mul(e.zeroExtend(turn, e.i64()), step));
    for (Operation& inner : body->without_terminator())
      if (inner.getNumResults() == 1 && isScalar(inner.getResult(0))) lowering.lowerScalar(&inner);
  }
};

KernelLowering::Turns KernelLowering::turnsOf(const MatrixLoop& loop) {
  ForOp op = loop.loop;
  const Value lo = scalar(op.getLo()), step = scalar(op.getStep());
  const Value span = e_.maxSigned(e_.sub(scalar(op.getHi()), lo), e_.i64(0));
  const Value count =
      arith::DivUIOp::create(e_.builder, e_.loc, e_.sub(e_.add(span, step), e_.i64(1)), step);
  return {*this, &op.getBody().front(), lo, step, e_.truncate(count, e_.i32())};
}

/// A stage and the parity of its phase (i32).
struct KernelLowering::Place {
  Value stage, parity;
};

KernelLowering::Place KernelLowering::placeAfter(const Place& place) {
  const Value more = e_.add(place.stage, e_.i32(1));
  const Value wraps = e_.compare(CmpIPredicate::eq, more, e_.i32(pipeline_->stages));
  return {e_.select(wraps, e_.i32(0), more),
          e_.select(wraps, e_.xori(place.parity, 1), place.parity)};
}

/// The place of the first turn of all, in memory that becomes registers.
Value KernelLowering::startPipeline() {
  const Value place = e_.scratch(8);
  e_.store(e_.i32(0), place, 4);
  e_.store(e_.i32(0), e_.offset(place, 4), 4);
  return place;
}

KernelLowering::Place KernelLowering::keptPlace() {
  const Value stage = e_.load(e_.i32(), place_, 4);
  return {stage, e_.load(e_.i32(), e_.offset(place_, 4), 4)};
}

void KernelLowering::keepPlace(const Place& place) {
  e_.store(place.stage, place_, 4);
  e_.store(place.parity, e_.offset(place_, 4), 4);
}

Value KernelLowering::stageAddress(const Place& place) {
  return e_.add(pipeline_->data, e_.mul(place.stage, e_.i32(pipeline_->stageBytes)));
}

Value KernelLowering::barrierAt(Value first, Value stage) {
  return e_.add(first, e_.shl(stage, 3));
}

void KernelLowering::lowerPipeline(const MatrixLoop& loop) {
  if (role_ != Role::kProducer) return multiplyStages(loop);
  alignedVersions({loop.a, loop.b}, {}, [&] {
    fillStages(loop);
    return SmallVector<Value>();
  });
}

void KernelLowering::multiplyStages(const MatrixLoop& loop) {
  Hopper hopper(e_.builder);
  ForOp op = loop.loop;
  const Value result = op.getResult(0);
  const Layout& layout = *layouts_.of(result);
  const int64_t sums = layout.registerCount(), panels = loop.k / kPanel;
  const Turns turns = turnsOf(loop);
  const Value group = hopper.warpgroup(e_.loc, thread_);
  const Value leads = e_.compare(CmpIPredicate::eq, e_.andi(thread_, 31), e_.i32(0));
  const Value zero = e_.i32(0);

  Hopper::Sums first(static_cast<size_t>(sums));
  const Registers initial = get(op.getInits()[0], layout);
  for (int64_t r = 0; r < sums; ++r) first[sumOf(loop, layout, r)] = initial.values[r];
  SmallVector<Value> carried(first);
  const Place begin = keptPlace();
  carried.append({begin.stage, begin.parity});
  const auto results =
      loop32(e_, zero, turns.count, e_.i32(1), carried, [&](Value, mlir::ValueRange now) {
        const Place at{now[sums], now[sums + 1]};
        hopper.wait(e_.loc, barrierAt(pipeline_->full, at.stage), at.parity);
        const Value stage = stageAddress(at);
        SmallVector<Value> rows, columns;
        for (int64_t panel = 0; panel < panels; ++panel) {
          const Value own = e_.mul(group, e_.i32(64 * kRowBytes));
          rows.push_back(hopper.descriptor(
              e_.loc, e_.add(stage, e_.add(own, e_.i32(panel * loop.rows() * kRowBytes)))));
          columns.push_back(hopper.descriptor(
              e_.loc,
              e_.add(stage, e_.i32((panels * loop.rows() + panel * loop.columns()) * kRowBytes))));
        }
        SmallVector<Value> next = hopper.multiply(e_.loc, loop.columns(), rows, columns,
                                                  Hopper::Sums(now.begin(), now.begin() + sums));
        hopper.arrive(e_.loc, barrierAt(pipeline_->empty, at.stage), leads);
        const Place after = placeAfter(at);
        next.append({after.stage, after.parity});
        return next;
      });
  keepPlace({results[sums], results[sums + 1]});
  Registers own{layout, {}};
  for (int64_t r = 0; r < sums; ++r) own.values.push_back(results[sumOf(loop, layout, r)]);
  set(result, own);
}

/// One operand of a loop as the threads that fill stages see it.
struct KernelLowering::Filling {
  Operation *operand, *scale;
  int64_t rows, offset;  // bytes from the start of the stage
  lang::TileShape shape;
  Layout layout;
  bool direct;          // copied past the registers
  size_t words, codes;  // of a thread, from loadWords() and scaleCodes()
};

/// The address of the first piece of this thread.
Value KernelLowering::stageBase(const Filling& side, Value stage) {
  const Value row = threadIndex(side.layout, side.shape, 0);
  const Value column = threadIndex(side.layout, side.shape, 1);
  const Value piece = e_.xori(e_.andi(e_.shr(column, kPieceBits), 7), e_.andi(row, 7));
  const Value panel = e_.mul(e_.shr(column, 6), e_.i32(side.rows * kRowBytes));
  return e_.add(e_.add(stage, e_.i32(side.offset)),
                e_.add(panel, e_.add(e_.shl(row, 7), e_.shl(piece, 4))));
}

/// The address of the 16 bytes that begin with register `number`. Piece i of row r lies at the
/// place that is the exclusive or of i and r mod 8.
Value KernelLowering::stagePlace(const Filling& side, Value first, int64_t number) {
  const int64_t row = registerIndex(side.layout, side.shape, 0, number);
  const int64_t column = registerIndex(side.layout, side.shape, 1, number);
  const int64_t bytes = (column / kPanel * side.rows + row) * kRowBytes;
  return e_.xori(e_.add(first, e_.i32(bytes)), (((column >> kPieceBits) & 7) ^ (row & 7)) << 4);
}

/// What the entered turn's stage is made of: words, then codes of scales.
SmallVector<Value> KernelLowering::fetch(const Filling& side) {
  SmallVector<Value> fetched = loadWords(side.operand, side.layout);
  llvm::append_range(fetched, scaleCodes(side.operand, side.scale, side.layout));
  return fetched;
}

void KernelLowering::deposit(const Filling& side, mlir::ValueRange fetched, Value stage) {
  Hopper hopper(e_.builder);
  const SmallVector<Value> pairs =
      pairsOf(side.operand, side.scale, side.layout, fetched.take_front(side.words),
              fetched.drop_front(side.words));
  const Value first = stageBase(side, stage);
  for (size_t i = 0; i < pairs.size(); i += 4)
    hopper.storeWords(e_.loc, mlir::ValueRange(llvm::ArrayRef(pairs).slice(i, 4)),
                      stagePlace(side, first, static_cast<int64_t>(2 * i)));
}

void KernelLowering::copyDirectly(const Filling& side, Value stage) {
  Hopper hopper(e_.builder);
  const Value first = stageBase(side, stage);
  int64_t number = 0;
  forEachChunk(side.operand, side.layout, [&](const Window&, const Chunk& chunk, int, int64_t) {
    hopper.copyAsync(e_.loc, stagePlace(side, first, number), chunk.address, chunk.inside);
    number += int64_t{1} << kPieceBits;
  });
}

void KernelLowering::fillStages(const MatrixLoop& loop) {
  const auto filling = [&](Operation* operand, Operation* scale, int64_t rows, int64_t offset) {
    Filling side{operand, scale, rows, offset, shapeOf(operand->getResult(0)), {}, false, 0, 0};
    const int64_t width = bits(dtypeOf(operand->getResult(0)));
    const int64_t access = 8 * target_.widestBytes / width;
    side.layout =
        blockedLayout(side.shape, layouts_.threadBits(), static_cast<int>(llvm::Log2_64(access)));
    side.direct = !scale && access == int64_t{1} << kPieceBits && isWide(operand, side.layout);
    side.words = static_cast<size_t>(side.layout.registerCount() * width / 32);
    if (scale)
      side.codes = static_cast<size_t>(
          side.layout.renamed(Grouped{side.shape, shapeOf(scale->getResult(0))}).registerCount());
    return side;
  };
  const int64_t second = loop.rows() * loop.k * 2;
  const Filling sides[2] = {filling(loop.a, loop.aScale, loop.m, loop.turned() ? second : 0),
                            filling(loop.b, loop.bScale, loop.n, loop.turned() ? 0 : second)};
  fillStages(loop, sides);
}

void KernelLowering::fillStages(const MatrixLoop& loop, llvm::ArrayRef<Filling> sides) {
  Hopper hopper(e_.builder);
  const bool copies = sides[0].direct || sides[1].direct;
  const Turns turns = turnsOf(loop);
  const Value zero = e_.i32(0);
  const auto fetchAll = [&](Value turn) {
    turns.enter(turn);
    SmallVector<Value> fetched;
    for (const Filling& side : sides)
      if (!side.direct) llvm::append_range(fetched, fetch(side));
    return fetched;
  };
  SmallVector<Value> carried;
  {
    const Scope scope(*this);
    carried = fetchAll(zero);
  }
  const size_t words = carried.size();
  const Place begin = keptPlace();
  carried.append({begin.stage, begin.parity, zero});
  const auto results =
      loop32(e_, zero, turns.count, e_.i32(1), carried, [&](Value turn, mlir::ValueRange now) {
        const Scope scope(*this);
        const Place at{now[words], now[words + 1]};
        SmallVector<Value> next = fetchAll(e_.add(turn, e_.i32(1)));
        hopper.wait(e_.loc, barrierAt(pipeline_->empty, at.stage), e_.xori(at.parity, 1));
        const Value stage = stageAddress(at);
        turns.enter(turn);
        for (const Filling& side : sides)
          if (side.direct) copyDirectly(side, stage);
        mlir::ValueRange fetched = now.take_front(words);
        for (const Filling& side : sides) {
          if (side.direct) continue;
          deposit(side, fetched.take_front(side.words + side.codes), stage);
          fetched = fetched.drop_front(side.words + side.codes);
        }
        if (copies) {
          // Those of the turn before have arrived.
          hopper.commitCopies(e_.loc);
          hopper.waitForCopies(e_.loc, 1);
          hopper.showToMatrixUnit(e_.loc);
          hopper.arrive(e_.loc, barrierAt(pipeline_->full, now[words + 2]),
                        e_.compare(CmpIPredicate::ne, turn, zero));
        } else {
          hopper.showToMatrixUnit(e_.loc);
          hopper.arrive(e_.loc, barrierAt(pipeline_->full, at.stage));
        }
        const Place after = placeAfter(at);
        next.append({after.stage, after.parity, at.stage});
        return next;
      });
  if (copies) {
    hopper.waitForCopies(e_.loc, 0);
    hopper.showToMatrixUnit(e_.loc);
    hopper.arrive(e_.loc, barrierAt(pipeline_->full, results[words + 2]),
                  e_.compare(CmpIPredicate::ne, turns.count, zero));
  }
  keepPlace({results[words], results[words + 1]});
}

mlir::FailureOr<ThreadCode> emitRoles(Emitter& e, ThreadMemory& memory, KernelOp kernel,
                                      const SimtTarget& target, const PipelinePlan& plan) {
  Hopper hopper(e.builder);
  const Value thread = memory.threadId(e.loc);
  // The barriers, then the stages.
  WorkgroupMemory stack(memory);
  const Array barriers = stack.allocate(e.loc, DType::i32, 4 * plan.stages);
  const Array data =
      stack.allocate(e.loc, DType::i32, plan.stages * plan.stageBytes / 4, kPanelAlignment / 4);
  PipelineMemory pipeline{plan.stages, plan.stageBytes,
                          stack.top(), memory.sharedAddress(e.loc, barriers),
                          {},          memory.sharedAddress(e.loc, data)};
  pipeline.empty = e.add(pipeline.full, e.i32(8 * plan.stages));
  e.ifThen(e.compare(CmpIPredicate::eq, thread, e.i32(0)), [&] {
    for (int64_t i = 0; i < plan.stages; ++i) {
      hopper.initialise(e.loc, e.add(pipeline.full, e.i32(8 * i)), PipelinePlan::kProducers);
      hopper.initialise(e.loc, e.add(pipeline.empty, e.i32(8 * i)), plan.consumers / 32);
    }
  });
  memory.barrier(e.loc);
  memory.limitBarriers(plan.consumers);

  KernelLowering consumer(e, memory, kernel, target, Role::kConsumer, 0, &pipeline);
  KernelLowering producer(e, memory, kernel, target, Role::kProducer, PipelinePlan::kProducerBits,
                          &pipeline);
  const Value consumes =
      e.compare(CmpIPredicate::ult, hopper.warpgroup(e.loc, thread), e.i32(plan.consumers / 128));
  auto roles = scf::IfOp::create(e.builder, e.loc, consumes, /*withElseRegion=*/true);
  mlir::OpBuilder::InsertionGuard guard(e.builder);
  e.builder.setInsertionPoint(roles.thenBlock()->getTerminator());
  if (mlir::failed(consumer.run(thread))) return mlir::failure();
  e.builder.setInsertionPoint(roles.elseBlock()->getTerminator());
  if (mlir::failed(producer.run(e.sub(thread, e.i32(plan.consumers))))) return mlir::failure();
  return ThreadCode{plan.consumers + PipelinePlan::kProducers, consumer.sharedWords()};
}

}  // namespace tessera::compiler::simt
