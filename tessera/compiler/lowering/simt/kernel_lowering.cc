// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/simt/cooperative_product.h"
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/scope.h"

namespace tessera::compiler::simt {

namespace {

/// Programs along y that are taken before the next along x, where they share operands.
constexpr int64_t kRasterRows = 16;

}  // namespace

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using mlir::LogicalResult;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

KernelLowering::KernelLowering(Emitter& emitter, ThreadMemory& memory, KernelOp kernel,
                               const SimtTarget& target, Role role, int threadBits,
                               const PipelineMemory* pipeline)
    : e_(emitter),
      memory_(memory),
      kernel_(kernel),
      target_(target),
      layouts_(kernel, target, threadBits),
      shared_(memory),
      role_(role),
      pipeline_(pipeline) {
  if (pipeline_ != nullptr) shared_.reserve(pipeline_->words);
  shared_.callToEnd([this] { finishProducts(); });
}

/// Program number `linear` of a grid whose neighbours share rows and columns: groups of rows,
/// column by column.
llvm::SmallVector<Value, 3> KernelLowering::rasterOf(Value linear) {
  const Value x = gridSize_[0], y = gridSize_[1], plane = e_.mul(x, y);
  const auto divide = [&](Value a, Value b) -> Value {
    return arith::DivUIOp::create(e_.builder, e_.loc, a, b);
  };
  const Value z = divide(linear, plane), inPlane = e_.sub(linear, e_.mul(z, plane));
  const Value most = e_.i64(kRasterRows), group = divide(inPlane, e_.mul(x, most));
  const Value above = e_.mul(group, most), inGroup = e_.sub(inPlane, e_.mul(above, x));
  const Value rows = e_.minSigned(most, e_.sub(y, above)), column = divide(inGroup, rows);
  return {column, e_.add(above, e_.sub(inGroup, e_.mul(column, rows))), z};
}

LogicalResult KernelLowering::run(Value thread) {
  thread_ = thread;
  if (!layouts_.products().empty()) warpgroup_ = Hopper(e_.builder).warpgroup(e_.loc, thread);
  if (pipeline_ != nullptr) place_ = startPipeline();
  const Value xy = memory_.gridXy(e_.loc), programs = memory_.programs(e_.loc);
  const Value x = e_.andi(xy, 0xffffffff), y = e_.shr(xy, 32);
  const Value plane = e_.mul(x, y);
  const auto divide = [&](Value a, Value b) -> Value {
    return arith::DivUIOp::create(e_.builder, e_.loc, a, b);
  };
  gridSize_ = {x, y, divide(programs, plane)};
  const Value aligned = basesAligned();

  // Programs beyond the dispatched workgroups are taken in further turns.
  const Value workgroups = memory_.workgroupCount(e_.loc);
  auto loop =
      scf::ForOp::create(e_.builder, e_.loc, memory_.workgroup(e_.loc), programs, workgroups);
  mlir::OpBuilder::InsertionGuard guard(e_.builder);
  e_.builder.setInsertionPoint(loop.getBody()->getTerminator());
  shared_.forget();  // the program before uses the same memory
  const Value linear = loop.getInductionVar();
  const auto places = [&]() -> llvm::SmallVector<Value, 3> {
    const Value line = divide(linear, x);
    return {e_.sub(linear, e_.mul(line, x)), e_.sub(line, e_.mul(divide(line, y), y)),
            divide(linear, plane)};
  };
  if (pipeline_ != nullptr)
    programId_ = rasterOf(linear);
  else if (const auto launch = memory_.launch(e_.loc))
    programId_ =
        shapedPlace(*launch, e_.compare(arith::CmpIPredicate::uge, workgroups, programs), places);
  else
    programId_ = places();
  if (!aligned) return lowerProgram();
  // Twice: wide accesses need aligned views, which nearly all are.
  auto versions = scf::IfOp::create(e_.builder, e_.loc, aligned, /*withElseRegion=*/true);
  for (bool wide : {true, false}) {
    aligned_ = wide;
    e_.builder.setInsertionPoint(
        (wide ? versions.thenBlock() : versions.elseBlock())->getTerminator());
    shared_.forget();
    thread_ = memory_.opaque(e_.loc, thread);
    if (mlir::failed(lowerProgram())) return mlir::failure();
  }
  return mlir::success();
}

/// A program's place in the grid: the workgroup's own where the launch has the grid's shape, which
/// spares divisions.
llvm::SmallVector<Value, 3> KernelLowering::shapedPlace(
    const ThreadMemory::Launch& launch, Value whole,
    llvm::function_ref<llvm::SmallVector<Value, 3>()> otherwise) {
  const mlir::Type i64 = e_.i64();
  for (int axis : {0, 1})
    whole =
        e_.andi(whole, e_.compare(arith::CmpIPredicate::eq, launch.extents[axis], gridSize_[axis]));
  auto ids = scf::IfOp::create(e_.builder, e_.loc, mlir::TypeRange{i64, i64, i64}, whole,
                               /*withElseRegion=*/true);
  const mlir::OpBuilder::InsertionGuard guard(e_.builder);
  e_.builder.setInsertionPointToEnd(ids.thenBlock());
  scf::YieldOp::create(e_.builder, e_.loc, launch.place);
  e_.builder.setInsertionPointToEnd(ids.elseBlock());
  scf::YieldOp::create(e_.builder, e_.loc, otherwise());
  return {ids.getResult(0), ids.getResult(1), ids.getResult(2)};
}

LogicalResult KernelLowering::lowerProgram() {
  const Scope scope(*this);
  return lowerBlock(kernel_.getBody().front());
}

LogicalResult KernelLowering::lowerBlock(mlir::Block& block) {
  const int64_t top = shared_.top();
  const llvm::SmallVector<Value> reserved = reserveStaged(block);
  for (Operation& op : block.without_terminator())
    if (mlir::failed(lowerOperation(&op))) return mlir::failure();
  finishProducts();
  advanceIfDue();
  if (!reserved.empty() && copiesPending_) awaitCopies();
  for (Value tile : reserved) staged_.erase(tile);
  shared_.release(top);
  return mlir::success();
}

/// Threads that fill stages make the tiles they need where they need them.
bool KernelLowering::concernsRole(Operation* op) {
  if (role_ != Role::kProducer) return true;
  if (llvm::isa<ForOp, IfOp>(op)) return holdsPipeline(op, target_);
  return op->getNumResults() == 1 && isScalar(op->getResult(0));
}

LogicalResult KernelLowering::lowerOperation(Operation* op) {
  if (!concernsRole(op) || layouts_.products().folded(op)) return mlir::success();
  const mlir::Location outer = std::exchange(e_.loc, op->getLoc());
  LogicalResult result = mlir::success();
  const int64_t top = shared_.top();
  finishProductsFor(op);
  if (op->getNumRegions() != 0) advanceIfDue();
  if (auto loop = llvm::dyn_cast<ForOp>(op)) {
    result = lowerFor(loop);
  } else if (auto branch = llvm::dyn_cast<IfOp>(op)) {
    result = lowerIf(branch);
  } else if (auto store = llvm::dyn_cast<StoreOp>(op)) {
    lowerStore(store);
  } else if (llvm::isa<ScatterOp, AtomicAddOp>(op)) {
    lowerRowUpdate(op);
  } else if (op->getNumResults() == 1 && isScalar(op->getResult(0))) {
    lowerScalar(op);
  } else if (auto reduce = llvm::dyn_cast<ReduceOp>(op)) {
    lowerReduce(reduce);
  } else if (auto scan = llvm::dyn_cast<ScanOp>(op)) {
    lowerScan(scan);
  } else if (auto histogram = llvm::dyn_cast<HistogramOp>(op)) {
    lowerHistogram(histogram);
  } else if (auto sort = llvm::dyn_cast<SortOp>(op)) {
    lowerSort(sort);
  } else if (const TileProduct* product = layouts_.products().of(op)) {
    lowerProduct(*product);
  } else if (const auto product = cooperativeProduct(op, target_)) {
    lowerCooperativeProduct(*product);
  } else if (llvm::isa<DotOp, DotScaledOp>(op)) {
    lowerDot(op);
  } else if (layouts_.products().readsOnlyStaged(op)) {
    stageLoad(op);
  } else if (layouts_.products().decoded(op->getResult(0))) {
    stageDecoded(op->getResult(0), staged_.find(op->getResult(0))->second);
  } else if (const Layout* layout = layouts_.of(op->getResult(0))) {
    if (lowerHadamard(op) || lowerButterfly(op)) {
    } else if (llvm::isa<LoadOp, GatherOp>(op))
      set(op->getResult(0), load(op, *layout));
    else if (isElementwise(op))
      set(op->getResult(0), elementwise(op, *layout));
    else
      lowerShape(op);
  }
  stageResult(op);
  shared_.release(top);
  e_.loc = outer;
  return result;
}

LogicalResult KernelLowering::lowerFor(ForOp loop) {
  if (const auto matrix = matchMatrixLoop(loop, target_)) {
    if (matrix->cooperative)
      lowerCooperative(*matrix);
    else if (!matrix->fewRows())
      lowerPipeline(*matrix);
    else if (matrix->oneRow())
      lowerMatrixRow(*matrix);
    else
      lowerMatrixRows(*matrix);
    return mlir::success();
  }
  convertAhead(loop);
  mlir::Block& body = loop.getBody().front();
  llvm::SmallVector<Value> init;
  for (auto [value, argument] : llvm::zip(loop.getInits(), body.getArguments().drop_front())) {
    if (isScalar(value))
      init.push_back(scalar(value));
    else
      llvm::append_range(init, get(value, *layouts_.of(argument)).values);
  }
  Ahead ahead{loop, loadsAhead(loop), fetchedAhead(loop)};
  const size_t tiles = init.size();
  if (!ahead.empty()) llvm::append_range(init, startAhead(ahead));
  auto lowered = scf::ForOp::create(e_.builder, e_.loc, scalar(loop.getLo()), scalar(loop.getHi()),
                                    scalar(loop.getStep()), init);
  // Carried values lie in a row, tile by tile.
  const auto bind = [&](mlir::ValueRange tiles, mlir::ValueRange values) {
    for (Value tile : tiles) {
      if (isScalar(tile)) {
        scalars_[tile] = values.front();
        values = values.drop_front();
        continue;
      }
      const Layout& layout = *layouts_.of(tile);
      const auto count = static_cast<size_t>(layout.registerCount());
      set(tile, {layout, {values.begin(), values.begin() + count}});
      values = values.drop_front(count);
    }
  };
  shared_.forget();
  Ahead* const outer = std::exchange(ahead_, ahead.empty() ? nullptr : &ahead);
  const bool pending = copiesPending_;
  {
    const Scope scope(*this);
    mlir::OpBuilder::InsertionGuard guard(e_.builder);
    if (init.empty())
      e_.builder.setInsertionPoint(lowered.getBody()->getTerminator());
    else
      e_.builder.setInsertionPointToEnd(lowered.getBody());
    scalars_[body.getArgument(0)] = lowered.getInductionVar();
    bind(body.getArguments().drop_front(), lowered.getRegionIterArgs());
    if (ahead_ != nullptr) startTurn(lowered.getRegionIterArgs().drop_front(tiles));
    if (mlir::failed(lowerBlock(body))) return mlir::failure();
    llvm::SmallVector<Value> yields;
    for (auto [value, argument] : llvm::zip(loop.yielded(), body.getArguments().drop_front())) {
      if (isScalar(value))
        yields.push_back(scalar(value));
      else
        llvm::append_range(yields, get(value, *layouts_.of(argument)).values);
    }
    if (ahead_ != nullptr) llvm::append_range(yields, carriedAhead(ahead));
    if (!yields.empty()) scf::YieldOp::create(e_.builder, e_.loc, yields);
  }
  ahead_ = outer;
  copiesPending_ |= pending;
  endAhead(ahead);
  bind(loop.getResults(), lowered.getResults());
  return mlir::success();
}

LogicalResult KernelLowering::lowerIf(IfOp branch) {
  llvm::SmallVector<mlir::Type> types;
  for (Value result : branch.getResults()) {
    const mlir::Type type = registerType(e_.builder.getContext(), dtypeOf(result));
    types.append(isScalar(result) ? 1 : layouts_.of(result)->registerCount(), type);
  }
  auto lowered = scf::IfOp::create(e_.builder, e_.loc, types, scalar(branch.getCondition()),
                                   /*withElse=*/true);
  Ahead* const outer = std::exchange(ahead_, nullptr);
  const bool pending = copiesPending_;
  const auto side = [&](mlir::Region& from, mlir::Block* to,
                        mlir::ValueRange yielded) -> LogicalResult {
    shared_.forget();
    copiesPending_ |= pending;
    const Scope scope(*this);
    mlir::OpBuilder::InsertionGuard guard(e_.builder);
    if (types.empty())
      e_.builder.setInsertionPoint(to->getTerminator());
    else
      e_.builder.setInsertionPointToEnd(to);
    if (mlir::failed(lowerBlock(from.front()))) return mlir::failure();
    llvm::SmallVector<Value> yields;
    for (auto [value, result] : llvm::zip(yielded, branch.getResults())) {
      if (isScalar(value))
        yields.push_back(scalar(value));
      else
        llvm::append_range(yields, get(value, *layouts_.of(result)).values);
    }
    if (!yields.empty()) scf::YieldOp::create(e_.builder, e_.loc, yields);
    return mlir::success();
  };
  if (mlir::failed(side(branch.getThen(), lowered.thenBlock(), branch.thenYielded())) ||
      mlir::failed(side(branch.getOtherwise(), lowered.elseBlock(), branch.elseYielded())))
    return mlir::failure();
  ahead_ = outer;
  copiesPending_ |= pending;
  shared_.forget();
  size_t next = 0;
  for (Value result : branch.getResults()) {
    if (isScalar(result)) {
      scalars_[result] = lowered.getResult(next++);
      continue;
    }
    const Layout& layout = *layouts_.of(result);
    const auto values = lowered.getResults().slice(next, layout.registerCount());
    set(result, {layout, {values.begin(), values.end()}});
    next += values.size();
  }
  return mlir::success();
}

void KernelLowering::forEach(int64_t count, llvm::function_ref<void(Value)> body) {
  if (count < threads())
    return e_.ifThen(e_.compare(arith::CmpIPredicate::ult, thread_, e_.i32(count)),
                     [&] { body(thread_); });
  loop32(e_, thread_, e_.i32(count), e_.i32(threads()), {}, [&](Value i, mlir::ValueRange) {
    body(i);
    return llvm::SmallVector<Value>();
  });
}

llvm::SmallVector<Value> loop32(
    Emitter& e, Value lo, Value hi, Value step, mlir::ValueRange init,
    llvm::function_ref<llvm::SmallVector<Value>(Value, mlir::ValueRange)> body) {
  auto op = scf::ForOp::create(e.builder, e.loc, lo, hi, step, init);
  mlir::OpBuilder::InsertionGuard guard(e.builder);
  if (init.empty())
    e.builder.setInsertionPoint(op.getBody()->getTerminator());
  else
    e.builder.setInsertionPointToEnd(op.getBody());
  const auto next = body(op.getInductionVar(), op.getRegionIterArgs());
  if (!init.empty()) scf::YieldOp::create(e.builder, e.loc, next);
  return {op.getResults().begin(), op.getResults().end()};
}

namespace {

/// Threads of a multiprocessor that keep enough of its memory's bytes under way.
constexpr int64_t kReaders = 512;
/// The same of those that turn heads in place: loads and stores of one view do not overlap.
constexpr int64_t kUpdaters = 1280;
/// The same of those that stream up to 16 elements each, and of those that stream more. Without a
/// promise the driver's linker lets a kernel have 100 to 168 registers a thread, so that few run.
constexpr int64_t kStreamers = 1024, kHolders = 768;
constexpr int64_t kFewElements = 16, kManyElements = 32, kLargeTile = 2048;

/// Whether nothing is carried from tile to tile, multiplied or sorted.
bool isPlain(KernelOp kernel) {
  bool plain = true;
  kernel->walk([&](Operation* op) {
    plain &= !llvm::isa<IfOp, DotOp, DotScaledOp, SortOp, ScanOp>(op);
    if (auto loop = llvm::dyn_cast<ForOp>(op)) plain &= loop.getInits().empty();
  });
  return plain;
}

/// Whether a program reads one tile, a sum of which decides what it writes back.
bool updatesInPlace(KernelOp kernel) {
  bool sums = false, inPlace = false, loops = false;
  kernel->walk([&](Operation* op) {
    sums |= llvm::isa<ReduceOp>(op);
    loops |= llvm::isa<ForOp>(op);
    if (auto store = llvm::dyn_cast<StoreOp>(op))
      inPlace |= kernel.view(store.getView()).getAccess() == Access::readwrite;
  });
  return sums && inPlace && !loops && isPlain(kernel);
}

/// Threads that a multiprocessor should have registers for, of a program that makes something else
/// of one or two large tiles; 0: another program.
int64_t streamingThreads(KernelOp kernel, int64_t threads) {
  if (!isPlain(kernel)) return 0;
  int tiles = 0;
  int64_t most = 0;  // elements a thread
  kernel->walk([&](LoadOp load) {
    const int64_t own = tile::tileType(load.getResult().getType())->shape.numel() / threads;
    tiles += own > 1 ? 1 : 0;
    most = std::max(most, own);
  });
  if (tiles == 0 || tiles > 2 || most * threads < kLargeTile || most > kManyElements) return 0;
  return most > kFewElements ? kHolders : kStreamers;
}

/// Registers of a multiprocessor, and those a thread needs beside its sums.
constexpr int64_t kRegisters = 65536, kOtherRegisters = 64;

/// Two workgroups with products of tiles, where there is room: one multiplies while the other
/// works on its sums.
int64_t workgroupsOf(const KernelLowering& lowering, const SimtTarget& target) {
  const int64_t sums = lowering.products().mostSums() / lowering.threads();
  const bool registers = 2 * lowering.threads() * (sums + kOtherRegisters) <= kRegisters;
  return registers && 2 * 4 * lowering.sharedWords() <= target.sharedBytes ? 2 : 1;
}

}  // namespace

mlir::FailureOr<ThreadCode> emitThreadCode(mlir::OpBuilder& builder, ThreadMemory& memory,
                                           KernelOp kernel, mlir::Block* entry,
                                           const SimtTarget& target) {
  Emitter emitter(builder, kernel.getLoc(), target.arithmetic, entry);
  ThreadCode code;
  if (const auto plan = pipelinePlan(kernel, target)) {
    const auto roles = emitRoles(emitter, memory, kernel, target, *plan);
    if (mlir::failed(roles)) return mlir::failure();
    code = *roles;
  } else {
    KernelLowering lowering(emitter, memory, kernel, target);
    if (mlir::failed(lowering.run(memory.threadId(emitter.loc)))) return mlir::failure();
    code = {lowering.threads(), lowering.sharedWords(), 1};
    if (holdsRows(kernel, target))
      code.workgroups = kReaders / code.threads;
    else if (code.threads == target.threads && updatesInPlace(kernel))
      code.workgroups = kUpdaters / code.threads;
    else if (const int64_t streaming = streamingThreads(kernel, code.threads))
      code.workgroups = streaming / code.threads;
    if (!lowering.products().empty()) code.workgroups = workgroupsOf(lowering, target);
  }
  const int64_t bytes = 4 * code.sharedWords;
  if (bytes > target.sharedBytes)
    return kernel.emitError() << "needs " << bytes << " bytes of shared memory, the chip has "
                              << target.sharedBytes;
  auto module = kernel->getParentOfType<mlir::ModuleOp>();
  module->setAttr(kSharedBytesAttribute, builder.getI64IntegerAttr(bytes));
  module->setAttr(kThreadsAttribute, builder.getI64IntegerAttr(code.threads));
  return code;
}

}  // namespace tessera::compiler::simt
