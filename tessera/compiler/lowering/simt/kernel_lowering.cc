// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using mlir::LogicalResult;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

KernelLowering::KernelLowering(Emitter& emitter, ThreadMemory& memory, KernelOp kernel,
                               int64_t threads)
    : e_(emitter), memory_(memory), kernel_(kernel), threads_(threads), placement_(kernel) {}

LogicalResult KernelLowering::run() {
  thread_ = memory_.threadId(e_.loc);
  const Value xy = memory_.gridXy(e_.loc), programs = memory_.programs(e_.loc);
  const Value x = e_.andi(xy, 0xffffffff), y = e_.shr(xy, 32);
  const Value plane = e_.mul(x, y);
  const auto divide = [&](Value a, Value b) -> Value {
    return arith::DivUIOp::create(e_.builder, e_.loc, a, b);
  };
  gridSize_ = {x, y, divide(programs, plane)};

  // Programs beyond the dispatched workgroups are taken in further turns.
  auto loop = scf::ForOp::create(e_.builder, e_.loc, memory_.workgroup(e_.loc), programs,
                                 memory_.workgroupCount(e_.loc));
  mlir::OpBuilder::InsertionGuard guard(e_.builder);
  e_.builder.setInsertionPoint(loop.getBody()->getTerminator());
  const Value linear = loop.getInductionVar();
  const Value line = divide(linear, x);
  programId_ = {e_.sub(linear, e_.mul(line, x)), e_.sub(line, e_.mul(divide(line, y), y)),
                divide(linear, plane)};
  if (mlir::failed(lowerBlock(kernel_.getBody().front()))) return mlir::failure();
  if (sharedPeak_ > 0) barrier();  // the next program reuses the arrays
  return mlir::success();
}

LogicalResult KernelLowering::lowerBlock(mlir::Block& block) {
  const int64_t top = sharedTop_;
  for (Operation& op : block.without_terminator())
    if (mlir::failed(lowerOperation(&op))) return mlir::failure();
  sharedTop_ = top;  // arrays of this block end with it
  return mlir::success();
}

LogicalResult KernelLowering::lowerOperation(Operation* op) {
  const mlir::Location outer = std::exchange(e_.loc, op->getLoc());
  LogicalResult result = mlir::success();
  if (auto loop = llvm::dyn_cast<ForOp>(op)) {
    result = lowerFor(loop);
  } else if (auto branch = llvm::dyn_cast<IfOp>(op)) {
    result = lowerIf(branch);
  } else if (auto store = llvm::dyn_cast<StoreOp>(op)) {
    lowerStore(store);
  } else if (llvm::isa<ScatterOp, AtomicAddOp>(op)) {
    lowerRowUpdate(op);
  } else if (auto reduce = llvm::dyn_cast<ReduceOp>(op)) {
    lowerReduce(reduce);
  } else if (auto scan = llvm::dyn_cast<ScanOp>(op)) {
    lowerScan(scan);
  } else if (auto histogram = llvm::dyn_cast<HistogramOp>(op)) {
    lowerHistogram(histogram);
  } else if (auto sort = llvm::dyn_cast<SortOp>(op)) {
    lowerSort(sort);
  } else if (llvm::isa<DotOp, DotScaledOp>(op)) {
    lowerDot(op);
  } else if (op->getNumResults() == 1 && isScalar(op->getResult(0))) {
    scalars_[op->getResult(0)] = evaluateLazy(op, op->getResult(0), Point());
  } else if (op->getNumResults() == 1 && placement_.isRoot(op->getResult(0))) {
    const Value result_tile = op->getResult(0);
    materialise(result_tile, [&](const Point& p) { return evaluateLazy(op, result_tile, p); });
  }
  e_.loc = outer;
  return result;
}

const Array& KernelLowering::allocate(Value root) {
  const lang::TileType type = typeOf(root);
  const int64_t count = type.shape.numel();
  if (!isShared(root)) {
    arrays_[root] =
        memory_.allocatePrivate(e_.loc, type.dtype, std::max<int64_t>(1, count / threads_));
  } else {
    arrays_[root] = memory_.allocateShared(e_.loc, type.dtype, count, sharedTop_);
    sharedTop_ += arrays_[root].words();
    sharedPeak_ = std::max(sharedPeak_, sharedTop_);
  }
  return arrays_[root];
}

void KernelLowering::materialise(Value root, llvm::function_ref<Value(const Point&)> element) {
  const Array array = allocate(root);
  const bool shared = array.space == Space::kShared;
  if (shared) barrier();  // the words may hold an array whose readers are not done
  forOwned(typeOf(root).shape, [&](const Point& p) {
    memory_.store(e_.loc, element(p), array, shared ? p.linear : p.owned);
  });
  if (shared) barrier();
}

void KernelLowering::assign(const Array& to, Value from) {
  forOwned(typeOf(from).shape, [&](const Point& p) {
    memory_.store(e_.loc, evaluate(from, p), to, to.space == Space::kShared ? p.linear : p.owned);
  });
}

LogicalResult KernelLowering::lowerFor(ForOp loop) {
  mlir::Block& body = loop.getBody().front();
  llvm::SmallVector<Value> carriedScalars;
  for (auto [init, argument, result] :
       llvm::zip(loop.getInits(), body.getArguments().drop_front(), loop.getResults())) {
    if (isScalar(init)) {
      carriedScalars.push_back(scalar(init));
      continue;
    }
    const Array array = allocate(argument);
    if (array.space == Space::kShared) barrier();
    assign(array, init);
    if (array.space == Space::kShared) barrier();
    arrays_[result] = array;
  }
  const int64_t top = sharedTop_;
  auto lowered = scf::ForOp::create(e_.builder, e_.loc, scalar(loop.getLo()), scalar(loop.getHi()),
                                    scalar(loop.getStep()), carriedScalars);
  {
    mlir::OpBuilder::InsertionGuard guard(e_.builder);
    if (carriedScalars.empty())
      e_.builder.setInsertionPoint(lowered.getBody()->getTerminator());
    else
      e_.builder.setInsertionPointToEnd(lowered.getBody());
    scalars_[body.getArgument(0)] = lowered.getInductionVar();
    size_t next = 0;
    for (Value argument : body.getArguments().drop_front())
      if (isScalar(argument)) scalars_[argument] = lowered.getRegionIterArg(next++);
    for (Operation& op : body.without_terminator())
      if (mlir::failed(lowerOperation(&op))) return mlir::failure();

    // All new values are computed before any old one is overwritten.
    llvm::SmallVector<Value> yields;
    struct Copy {
      lang::TileShape shape;
      Array from, to;
    };
    llvm::SmallVector<Copy> copies;
    bool shared = false;
    for (auto [value, argument] : llvm::zip(loop.yielded(), body.getArguments().drop_front())) {
      if (isScalar(value)) {
        yields.push_back(scalar(value));
      } else if (value != argument) {
        const lang::TileType type = typeOf(value);
        const Array fresh = memory_.allocatePrivate(
            e_.loc, type.dtype, std::max<int64_t>(1, type.shape.numel() / threads_));
        assign(fresh, value);
        copies.push_back({type.shape, fresh, arrays_[argument]});
        shared |= arrays_[argument].space == Space::kShared;
      }
    }
    if (shared) barrier();
    for (const Copy& copy : copies)
      forOwned(copy.shape, [&](const Point& p) {
        memory_.store(e_.loc, memory_.load(e_.loc, copy.from, p.owned), copy.to,
                      copy.to.space == Space::kShared ? p.linear : p.owned);
      });
    if (shared) barrier();
    if (!yields.empty()) scf::YieldOp::create(e_.builder, e_.loc, yields);
  }
  sharedTop_ = top;
  size_t next = 0;
  for (Value result : loop.getResults())
    if (isScalar(result)) scalars_[result] = lowered.getResult(next++);
  return mlir::success();
}

LogicalResult KernelLowering::lowerIf(IfOp branch) {
  llvm::SmallVector<mlir::Type> types;
  for (Value result : branch.getResults()) {
    if (isScalar(result))
      types.push_back(registerType(e_.builder.getContext(), dtypeOf(result)));
    else
      allocate(result);
  }
  auto lowered = scf::IfOp::create(e_.builder, e_.loc, types, scalar(branch.getCondition()),
                                   /*withElse=*/true);
  const auto side = [&](mlir::Region& from, mlir::Block* to,
                        mlir::ValueRange yielded) -> LogicalResult {
    mlir::OpBuilder::InsertionGuard guard(e_.builder);
    if (types.empty())
      e_.builder.setInsertionPoint(to->getTerminator());
    else
      e_.builder.setInsertionPointToEnd(to);
    const int64_t top = sharedTop_;
    for (Operation& op : from.front().without_terminator())
      if (mlir::failed(lowerOperation(&op))) return mlir::failure();
    llvm::SmallVector<Value> yields;
    for (auto [value, result] : llvm::zip(yielded, branch.getResults())) {
      if (isScalar(value)) {
        yields.push_back(scalar(value));
        continue;
      }
      const Array to_array = arrays_[result];
      if (to_array.space == Space::kShared) barrier();
      assign(to_array, value);
      if (to_array.space == Space::kShared) barrier();
    }
    if (!yields.empty()) scf::YieldOp::create(e_.builder, e_.loc, yields);
    sharedTop_ = top;
    return mlir::success();
  };
  if (mlir::failed(side(branch.getThen(), lowered.thenBlock(), branch.thenYielded())))
    return mlir::failure();
  if (mlir::failed(side(branch.getOtherwise(), lowered.elseBlock(), branch.elseYielded())))
    return mlir::failure();
  size_t next = 0;
  for (Value result : branch.getResults())
    if (isScalar(result)) scalars_[result] = lowered.getResult(next++);
  return mlir::success();
}

mlir::FailureOr<int64_t> emitThreadCode(mlir::OpBuilder& builder, ThreadMemory& memory,
                                        KernelOp kernel, mlir::Block* entry,
                                        const SimtTarget& target) {
  const CpuTarget scalars = {.lanes = 1, .hasFma = true};
  Emitter emitter(builder, kernel.getLoc(), scalars, entry);
  KernelLowering lowering(emitter, memory, kernel, target.threads);
  if (mlir::failed(lowering.run())) return mlir::failure();
  const int64_t bytes = 4 * lowering.sharedWords();
  if (bytes > target.sharedBytes)
    return kernel.emitError() << "needs " << bytes << " bytes of shared memory, the chip has "
                              << target.sharedBytes;
  kernel->getParentOfType<mlir::ModuleOp>()->setAttr(kSharedBytesAttribute,
                                                     builder.getI64IntegerAttr(bytes));
  return lowering.sharedWords();
}

}  // namespace tessera::compiler::simt
