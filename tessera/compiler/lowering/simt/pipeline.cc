// SPDX-License-Identifier: Apache-2.0
// Matrix loops of more than 8 rows on sm_90a: stages of both operands in workgroup memory as bf16,
// swizzled. One warpgroup fills them and does nothing else: what is bf16 already is copied past
// the registers, what is narrower or wider is read one turn ahead, decoded or cut into parts, and
// stored. The other warpgroups multiply from there, 64 rows each. Each stage has two barriers: one
// ends a phase when it is full, one when it is free. Both roles go through the programs of the
// workgroup by themselves, so that stages of the next one fill while the sums of the last are
// stored.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/scope.h"
#include "tessera/compiler/lowering/simt/turns.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using arith::CmpIPredicate;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kRowBytes = MatrixLoop::kRowBytes, kPanelAlignment = 1024;

/// Number of the instruction's sum that a register holds: d[4 j + 2 h + c] is row half h, column
/// 8 j + c.
int64_t sumOf(const MatrixLoop& loop, const Layout& layout, int64_t number) {
  const int64_t position = layout.registerOffset(number);
  const int64_t low = position & (loop.n - 1), high = position / loop.n;
  const int64_t row = loop.turned() ? low : high, column = loop.turned() ? high : low;
  return 4 * (column >> 3) + 2 * ((row >> 3) & 1) + (column & 1);
}

/// Registers of a thread, as the two roles divide those of a multiprocessor.
struct RegisterShares {
  int consumer, producer;
};
/// All threads together have no more than they were launched with, 168 each, else those that want
/// more could wait for ever. Null: all keep what they have. Threads that decode need theirs.
std::optional<RegisterShares> registerShares(const PipelinePlan& plan) {
  if (plan.consumers != 256 || plan.decodes) return std::nullopt;
  return RegisterShares{208, 88};
}

Hopper::Types typesOf(const MatrixLoop& loop) {
  if (loop.widensCodes())
    return loop.turned() ? Hopper::Types::kE5m2ByE4m3 : Hopper::Types::kE4m3ByE5m2;
  return loop.scalesSums() ? Hopper::Types::kE4m3 : Hopper::Types::kBf16;
}

/// Whether threads may copy parts of a stage that no tensor map describes, past their registers.
bool isCopiedByThreads(const MatrixLoop& loop) {
  return llvm::any_of(llvm::ArrayRef({loop.a, loop.b}), [&](Operation* operand) {
    return loop.isPlain(operand) && !tensorMapOf(loop, operand);
  });
}

}  // namespace

KernelLowering::Turns KernelLowering::turnsOf(const MatrixLoop& loop) {
  ForOp op = loop.loop;
  const Value lo = scalar(op.getLo()), step = scalar(op.getStep());
  const Value span = e_.maxSigned(e_.sub(scalar(op.getHi()), lo), e_.i64(0));
  const Value count =
      arith::DivUIOp::create(e_.builder, e_.loc, e_.sub(e_.add(span, step), e_.i64(1)), step);
  return {*this, &op.getBody().front(), lo, step, e_.truncate(count, e_.i32())};
}

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

/// Whether this lane arrives at a stage's barriers; null: each does.
Value KernelLowering::arrives() {
  if (pipeline_->arrivingLanes > 1) return {};
  return e_.compare(CmpIPredicate::eq, e_.andi(thread_, 31), e_.i32(0));
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

SmallVector<KernelLowering::SumScale> KernelLowering::sumScales(const MatrixLoop& loop) {
  SmallVector<SumScale> all;
  const Value result = ForOp(loop.loop).getResult(0);
  const auto add = [&](Operation* scale, int64_t rows, int reducedAxis, int64_t inner) {
    if (!scale) return;
    const lang::TileShape shape = shapeOf(scale->getResult(0));
    const Layout own = layouts_.of(result)->renamed(Reduced{shapeOf(result), reducedAxis});
    all.push_back(
        {scale, own.renamed(Grouped{{rows, 1}, shape}), inner * (rows / shape[0]), shape[0]});
  };
  add(loop.aScale, loop.m, 1, loop.n);
  if (!loop.widensCodes()) add(loop.bScale, loop.n, 0, 1);
  return all;
}

/// The factor of the sum in register `number` from the codes of all scales.
Value KernelLowering::sumFactor(const Layout& sums, int64_t number, llvm::ArrayRef<SumScale> scales,
                                mlir::ValueRange factors) {
  Value product;
  const int64_t position = sums.registerOffset(number);
  for (const SumScale& side : scales) {
    const int64_t at = side.layout.registerOf(position / side.divisor % side.count);
    product = product ? e_.mul(product, factors[at]) : factors[at];
    factors = factors.drop_front(static_cast<size_t>(side.layout.registerCount()));
  }
  return product;
}

SmallVector<Value> KernelLowering::scalesOfTurn(const Turns& turns, Value turn,
                                                llvm::ArrayRef<SumScale> scales) {
  if (scales.empty()) return {};
  const Scope scope(*this);
  turns.enter(turn);
  SmallVector<Value> codes;
  for (const SumScale& side : scales)
    llvm::append_range(codes, load(side.scale, side.layout).values);
  return codes;
}

/// Descriptors of what the instruction multiplies, pair by pair.
KernelLowering::StagePanels KernelLowering::panelsOf(const MatrixLoop& loop, Value stage,
                                                     Value group) {
  Hopper hopper(e_.builder);
  const int64_t panels = loop.k / loop.panel();
  const int64_t rowPanels = panels * MatrixLoop::parts(loop.turned() ? loop.b : loop.a);
  const Value own = e_.mul(group, e_.i32(64 * kRowBytes));
  StagePanels all;
  for (auto [row, column] : loop.partPairs())
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t left = (row * panels + panel) * loop.rows() * kRowBytes;
      const int64_t right =
          (rowPanels * loop.rows() + (column * panels + panel) * loop.columns()) * kRowBytes;
      all.rows.push_back(hopper.descriptor(e_.loc, e_.add(stage, e_.add(own, e_.i32(left)))));
      all.columns.push_back(hopper.descriptor(e_.loc, e_.add(stage, e_.i32(right))));
    }
  return all;
}

/// Arithmetic besides the product; its results that the loop carries, in their order.
SmallVector<Value> KernelLowering::besideOfStage(const MatrixLoop& loop, Value stage,
                                                 mlir::ValueRange before) {
  if (loop.beside.empty()) return {};
  ForOp op = loop.loop;
  const Scope scope(*this);
  for (Value tile : op.getBody().getArguments().drop_front(2)) {
    const Layout& layout = *layouts_.of(tile);
    const auto count = static_cast<size_t>(layout.registerCount());
    set(tile, {layout, {before.begin(), before.begin() + count}});
    before = before.drop_front(count);
  }
  set(loop.a->getResult(0), stagedRows(loop, stage));
  for (Operation* inner : loop.beside)
    set(inner->getResult(0), elementwise(inner, layouts_.ownOrBlocked(inner->getResult(0))));
  SmallVector<Value> after;
  for (auto [tile, result] : llvm::zip(op.yielded().drop_front(), op.getResults().drop_front()))
    llvm::append_range(after, get(tile, *layouts_.of(result)).values);
  // All lanes have read before one frees the stage.
  Hopper(e_.builder).meetWarp(e_.loc);
  return after;
}

/// The sums of a turn, in the order of the instruction: apart from those before, or added to them.
/// The stage is free then.
SmallVector<Value> KernelLowering::sumsOfStage(const MatrixLoop& loop, const Place& at, Value group,
                                               mlir::ValueRange before) {
  Hopper hopper(e_.builder);
  const StagePanels panels = panelsOf(loop, stageAddress(at), group);
  std::optional<Hopper::Order> order;
  if (loop.takesTurns()) order = hopper.order(e_.loc, group);
  SmallVector<Value> sums =
      loop.sumsApart() ? hopper.product(e_.loc, loop.columns(), typesOf(loop), panels.rows,
                                        panels.columns, order)
                       : hopper.multiply(e_.loc, loop.columns(), panels.rows, panels.columns,
                                         Hopper::Sums(before.begin(), before.end()));
  hopper.arrive(e_.loc, barrierAt(pipeline_->empty, at.stage), arrives());
  return sums;
}

/// The sums of a turn, scaled and added to those before.
void KernelLowering::addTurn(const MatrixLoop& loop, llvm::MutableArrayRef<Value> sums,
                             mlir::ValueRange before, const TurnFactors& factors) {
  const Layout& layout = *layouts_.of(ForOp(loop.loop).getResult(0));
  for (int64_t r = 0; r < layout.registerCount(); ++r) {
    Value& sum = sums[sumOf(loop, layout, r)];
    Value factor = sumFactor(layout, r, factors.scales, factors.ofScales);
    if (!factors.ofGroups.empty()) {
      const int64_t row = layout.registerOffset(r) & (loop.n - 1);  // of b
      const auto rows = static_cast<size_t>(row / MatrixLoop::kRowsTogether);
      const Value more = factors.ofGroups[rows % factors.ofGroups.size()];
      factor = factor ? e_.mul(factor, more) : more;
    }
    const Value old = before[sumOf(loop, layout, r)];
    sum = factor ? e_.fma(sum, factor, old) : e_.add(sum, old);
  }
}

Value KernelLowering::factorsAt(const Place& place) {
  return e_.add(pipeline_->factors, e_.mul(place.stage, e_.i32(4 * pipeline_->rowGroups)));
}

/// Of a full stage, those of the rows of b that a warp has sums of. The lane that frees the stage
/// is the one that reads them.
SmallVector<Value> KernelLowering::groupFactors(const MatrixLoop& loop, const Place& at) {
  SmallVector<Value> factors;
  if (!loop.widensCodes()) return factors;
  const Value leads = e_.compare(CmpIPredicate::eq, e_.andi(thread_, 31), e_.i32(0));
  Value from = factorsAt(at);
  int64_t count = pipeline_->rowGroups;
  if (loop.turned()) {  // 16 rows a warp
    count = 16 / MatrixLoop::kRowsTogether;
    const Value warp = e_.andi(e_.shr(thread_, 5), pipeline_->rowGroups / count - 1);
    from = e_.add(from, e_.mul(warp, e_.i32(4 * count)));
  }
  for (Value word : Hopper(e_.builder).loadWordsOfWarp(e_.loc, count, from, leads))
    factors.push_back(e_.bitcast(word, e_.f32()));
  return factors;
}

void KernelLowering::multiplyStages(const MatrixLoop& loop) {
  ForOp op = loop.loop;
  const Value result = op.getResult(0);
  const Layout& layout = *layouts_.of(result);
  const auto sums = static_cast<size_t>(layout.registerCount());
  const Turns turns = turnsOf(loop);
  const Value group = Hopper(e_.builder).warpgroup(e_.loc, thread_);
  const SmallVector<SumScale> scales =
      loop.scalesSums() ? sumScales(loop) : SmallVector<SumScale>();

  // Rows of a gather are brought where scales are wanted before the loop begins.
  for (const SumScale& side : scales)
    if (auto gather = llvm::dyn_cast<GatherOp>(side.scale))
      get(gather.getRows(),
          side.layout.renamed(Closed{0, bitCount(shapeOf(gather.getResult()), 1)}));
  SmallVector<Value> carried(sums);
  const Registers initial = get(op.getInits()[0], layout);
  for (size_t r = 0; r < sums; ++r)
    carried[sumOf(loop, layout, static_cast<int64_t>(r))] = initial.values[r];
  const Place begin = keptPlace();
  carried.append({begin.stage, begin.parity});
  llvm::append_range(carried, scalesOfTurn(turns, e_.i32(0), scales));
  const size_t others = carried.size();
  for (auto [tile, init] : llvm::zip(op.getResults().drop_front(), op.getInits().drop_front()))
    llvm::append_range(carried, get(init, *layouts_.of(tile)).values);
  const auto results =
      loop32(e_, e_.i32(0), turns.count, e_.i32(1), carried, [&](Value turn, mlir::ValueRange now) {
        const Place at{now[sums], now[sums + 1]};
        TurnFactors factors{scales, {}, {}};
        for (Value code : now.slice(sums + 2, others - sums - 2))
          factors.ofScales.push_back(decodeFloat(e_, DType::f8e8m0, code));
        const SmallVector<Value> codes = scalesOfTurn(turns, e_.add(turn, e_.i32(1)), scales);
        Hopper hopper(e_.builder);
        hopper.wait(e_.loc, barrierAt(pipeline_->full, at.stage), at.parity);
        if (isCopiedByThreads(loop)) hopper.showToMatrixUnit(e_.loc);
        const SmallVector<Value> beside =
            besideOfStage(loop, stageAddress(at), now.drop_front(others));
        factors.ofGroups = groupFactors(loop, at);
        SmallVector<Value> next = sumsOfStage(loop, at, group, now.take_front(sums));
        if (loop.sumsApart()) addTurn(loop, next, now.take_front(sums), factors);
        const Place after = placeAfter(at);
        next.append({after.stage, after.parity});
        llvm::append_range(next, codes);
        llvm::append_range(next, beside);
        return next;
      });
  keepPlace({results[sums], results[sums + 1]});
  const Hopper::Sums last =
      Hopper(e_.builder).pinned(e_.loc, {results.begin(), results.begin() + sums});
  Registers own{layout, {}};
  for (size_t r = 0; r < sums; ++r)
    own.values.push_back(last[sumOf(loop, layout, static_cast<int64_t>(r))]);
  set(result, own);
  size_t next = others;
  for (Value tile : op.getResults().drop_front()) {
    const Layout& shared = *layouts_.of(tile);
    const auto count = static_cast<size_t>(shared.registerCount());
    const auto values = llvm::ArrayRef(results).slice(next, count);
    set(tile, {shared, {values.begin(), values.end()}});
    next += count;
  }
}

mlir::FailureOr<ThreadCode> emitRoles(Emitter& e, ThreadMemory& memory, KernelOp kernel,
                                      const SimtTarget& target, const PipelinePlan& plan) {
  Hopper hopper(e.builder);
  const Value thread = memory.threadId(e.loc);
  // The barriers, then the stages.
  WorkgroupMemory stack(memory);
  const Array barriers = stack.allocate(e.loc, DType::i32, 4 * plan.stages);
  const Array factors = stack.allocate(e.loc, DType::f32, plan.rowGroups() * plan.stages);
  const Array data =
      stack.allocate(e.loc, DType::i32, plan.stages * plan.stageBytes / 4, kPanelAlignment / 4);
  PipelineMemory pipeline{plan.stages,
                          plan.stageBytes,
                          stack.top(),
                          memory.sharedAddress(e.loc, barriers),
                          {},
                          memory.sharedAddress(e.loc, data),
                          memory.sharedAddress(e.loc, factors),
                          plan.rowGroups(),
                          plan.arrivingLanes(),
                          plan.maps};
  pipeline.empty = e.add(pipeline.full, e.i32(8 * plan.stages));
  e.ifThen(e.compare(CmpIPredicate::eq, thread, e.i32(0)), [&] {
    for (int64_t i = 0; i < plan.stages; ++i) {
      hopper.initialise(e.loc, e.add(pipeline.full, e.i32(8 * i)),
                        plan.producers() / 32 * plan.arrivingLanes());
      hopper.initialise(e.loc, e.add(pipeline.empty, e.i32(8 * i)),
                        plan.consumers / 32 * plan.arrivingLanes());
    }
  });
  hopper.showToMatrixUnit(e.loc);  // the copy engine, too
  memory.barrier(e.loc);
  memory.limitBarriers(plan.consumers);

  KernelLowering consumer(e, memory, kernel, target, Role::kConsumer, 0, &pipeline);
  KernelLowering producer(e, memory, kernel, target, Role::kProducer, plan.producerBits, &pipeline);
  const Value consumes =
      e.compare(CmpIPredicate::ult, hopper.warpgroup(e.loc, thread), e.i32(plan.consumers / 128));
  auto roles = scf::IfOp::create(e.builder, e.loc, consumes, /*withElseRegion=*/true);
  mlir::OpBuilder::InsertionGuard guard(e.builder);
  const auto shares = registerShares(plan);
  e.builder.setInsertionPoint(roles.thenBlock()->getTerminator());
  if (shares) hopper.haveRegisters(e.loc, Hopper::Registers::kMore, shares->consumer);
  if (plan.inTurn) {  // the first turn is the first warpgroup's
    const Value group = hopper.warpgroup(e.loc, thread);
    hopper.passTurn(e.loc, hopper.order(e.loc, group),
                    e.compare(CmpIPredicate::eq, group, e.i32(1)));
  }
  if (mlir::failed(consumer.run(thread))) return mlir::failure();
  e.builder.setInsertionPoint(roles.elseBlock()->getTerminator());
  if (shares) hopper.haveRegisters(e.loc, Hopper::Registers::kFewer, shares->producer);
  if (mlir::failed(producer.run(e.sub(thread, e.i32(plan.consumers))))) return mlir::failure();
  return ThreadCode{plan.consumers + plan.producers(), consumer.sharedWords()};
}

}  // namespace tessera::compiler::simt
