// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/layout_assignment.h"

#include <algorithm>

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/simt/butterfly.h"
#include "tessera/compiler/lowering/simt/cooperative_product.h"
#include "tessera/compiler/lowering/simt/hadamard.h"
#include "tessera/compiler/lowering/simt/lane_product.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"

namespace tessera::compiler::simt {

using lang::TileShape;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// Products keep their accumulators where they are: a layout from one wins over others.
bool comesFromProduct(Value tile) {
  Operation* op = tile.getDefiningOp();
  return op != nullptr && llvm::isa<DotOp, DotScaledOp>(op);
}

}  // namespace

std::optional<std::pair<int64_t, Value>> memoryAccess(Operation* op) {
  using Found = std::optional<std::pair<int64_t, Value>>;
  return llvm::TypeSwitch<Operation*, Found>(op)
      .Case<LoadOp, GatherOp>(
          [](auto load) { return std::pair<int64_t, Value>(load.getView(), load.getResult()); })
      .Case<StoreOp, ScatterOp, AtomicAddOp>(
          [](auto store) { return std::pair<int64_t, Value>(store.getView(), store.getTile()); })
      .Default([](Operation*) { return std::nullopt; });
}

Layout splitSource(const Layout& source) {
  if (source.inRegister(0)) return source;
  Layout wanted = source;
  const int thread = source.threadBitOf(0);
  // The lowest register bit changes places with it; without one, the thread bit holds copies.
  int partner = Layout::kCopies;
  if (!wanted.registers.empty()) {
    partner = wanted.registers.front();
    wanted.registers.erase(wanted.registers.begin());
  }
  wanted.threads[thread] = static_cast<int8_t>(partner);
  return wanted.withRegister(0);
}

bool slicesRegisters(SliceOp slice, const Layout& source) {
  const TileShape from = shapeOf(slice.getX()), to = shapeOf(slice.getResult());
  const auto axis = static_cast<int>(slice.getAxis());
  if (static_cast<int64_t>(slice.getStart()) % to[axis] != 0) return false;
  const int first = firstBit(from, axis);
  for (int bit = first + bitCount(to, axis); bit < first + bitCount(from, axis); ++bit)
    if (!source.inRegister(bit)) return false;
  return true;
}

LayoutAssignment::LayoutAssignment(KernelOp kernel, const SimtTarget& target, int threadBits)
    : kernel_(kernel), target_(target), products_(kernel, target) {
  chooseThreads();
  if (threadBits > 0) threadBits_ = threadBits;
  chooseCarried();
  kernel_->walk([&](Operation* op) {
    for (Value result : op->getResults())
      if (!isScalar(result)) follow(result);
  });
}

const Layout* LayoutAssignment::of(Value tile) const {
  const auto found = layouts_.find(tile);
  return found == layouts_.end() || !found->second ? nullptr : &*found->second;
}

Layout LayoutAssignment::blocked(Value tile) const {
  const TileShape shape = shapeOf(tile);
  const Layout layout =
      blockedLayout(shape, threadBits_, vector_, tile::dtypeOf(tile) == DType::f4e2m1 ? 1 : 0);
  if (shape.rank() < 2) return layout;
  return layout.withRowsInWarps(bitCount(shape, shape.rank() - 1), target_.laneBits);
}

Layout LayoutAssignment::ownOrBlocked(Value tile) const {
  const Layout* own = of(tile);
  return own != nullptr ? *own : blocked(tile);
}

/// Whether a program streams a sum over one or two tiles and what follows from it past the caches,
/// with little arithmetic: what all threads do alike is most of its instructions.
bool LayoutAssignment::streamsSums() {
  if (target_.widestBytes == 1 || llvm::none_of(kernel_.getViews().getAsRange<ViewAttr>(),
                                                [](ViewAttr view) { return view.getStreamed(); }))
    return false;
  int tiles = 0;
  bool sums = false, light = true;
  kernel_->walk([&](Operation* op) {
    sums |= llvm::isa<ReduceOp>(op);
    light &= !llvm::isa<ForOp, DotOp, DotScaledOp, SortOp, ScanOp, ExpOp, Exp2Op, SigmoidOp>(op);
    auto load = llvm::dyn_cast<LoadOp>(op);
    tiles += load && positionBits(shapeOf(load.getResult())) > threadBits_;
  });
  return sums && light && tiles <= 2;
}

/// As many threads as the largest tile in memory fills with one access each.
void LayoutAssignment::chooseThreads() {
  int narrowest = 64, largest = 0, forMatrices = 0, forLanes = 0;
  int64_t promised = 1;  // elements that rows of some view are multiples of
  bool multiplies = false;
  kernel_->walk([&](Operation* op) {
    if (const auto lanes = laneProduct(op, target_))
      forLanes = std::max(forLanes, lanes->threadBits());
    else
      multiplies |= llvm::isa<DotOp, DotScaledOp>(op);
    if (auto loop = llvm::dyn_cast<ForOp>(op))
      if (const auto matrix = matchMatrixLoop(loop, target_))
        forMatrices = std::max(forMatrices, threadBitsOf(*matrix));
    const auto access = memoryAccess(op);
    if (access && !isScalar(access->second)) {
      narrowest = std::min(narrowest, static_cast<int>(bits(tile::dtypeOf(access->second))));
      if (const auto extents = kernel_.view(access->first).getExtents(); !extents.empty())
        promised = std::max(promised, extents.back());
      largest = std::max(largest, positionBits(shapeOf(access->second)));
    } else if (llvm::isa<SortOp>(op)) {
      largest = std::max(largest, positionBits(shapeOf(op->getOperand(0))));
    }
  });
  int64_t elements = 8 * target_.widestBytes / std::max(4, narrowest);
  if (target_.choosesByStrides) elements = std::min(elements, promised);
  vector_ = static_cast<int>(llvm::Log2_64(std::max<int64_t>(1, elements)));
  // A product's threads unroll its sums: the more threads, the less there is to compile.
  if (target_.choosesByStrides && multiplies)
    vector_ = std::clamp(largest - static_cast<int>(llvm::Log2_64(target_.threads)), 0, vector_);
  threadBits_ =
      std::clamp(largest - vector_, std::max(target_.laneBits, products_.leastThreadBits()),
                 static_cast<int>(llvm::Log2_64(target_.threads)));
  // Tiles for all threads are shared by half of them.
  if ((1 << threadBits_) == target_.threads && streamsSums()) --threadBits_;
  if (forLanes > 0 && !multiplies) threadBits_ = forLanes;
  kernel_->walk([&](LoadOp load) {
    if (isTransformed(load))
      threadBits_ = std::clamp(hadamardThreadBits(shapeOf(load.getResult())), target_.laneBits,
                               static_cast<int>(llvm::Log2_64(target_.threads)));
  });
  if (forMatrices > 0) threadBits_ = forMatrices;
}

/// Outer loops first: what their bodies compute follows the carried tiles.
void LayoutAssignment::chooseCarried() {
  kernel_->walk<mlir::WalkOrder::PreOrder>([&](ForOp loop) {
    llvm::DenseMap<Value, std::optional<Layout>> chosen;
    for (auto [init, argument, yielded, result] :
         llvm::zip(loop.getInits(), loop.getBody().getArguments().drop_front(), loop.yielded(),
                   loop.getResults())) {
      if (isScalar(init)) continue;
      visiting_.insert(argument);
      std::optional<Layout> layout = follow(yielded);
      if (!layout) layout = follow(init);
      visiting_.erase(argument);
      const Layout choice = layout ? *layout : blocked(argument);
      chosen[argument] = choice;
      chosen[result] = choice;
    }
    // What was found on the way may rest on a tile that had no layout yet.
    for (auto it = layouts_.begin(); it != layouts_.end(); ++it)
      if (it->first.getDefiningOp() != nullptr && !llvm::isa<ForOp>(it->first.getDefiningOp()))
        layouts_.erase(it);
    for (auto& [tile, layout] : chosen) layouts_[tile] = layout;
  });
}

std::optional<Layout> LayoutAssignment::follow(Value tile) {
  if (isScalar(tile) || visiting_.contains(tile)) return std::nullopt;
  if (const auto known = layouts_.find(tile); known != layouts_.end()) return known->second;
  visiting_.insert(tile);
  const std::optional<Layout> layout = compute(tile);
  visiting_.erase(tile);
  layouts_[tile] = layout;
  return layout;
}

std::optional<Layout> LayoutAssignment::first(mlir::ValueRange tiles) {
  std::optional<Layout> found;
  for (Value tile : tiles) {
    const std::optional<Layout> layout = follow(tile);
    if (layout && (!found || comesFromProduct(tile))) found = layout;
  }
  return found;
}

std::optional<Layout> LayoutAssignment::compute(Value tile) {
  Operation* op = tile.getDefiningOp();
  if (op == nullptr) return std::nullopt;  // an outer loop's, not chosen yet
  if (isElementwise(op)) return first(op->getOperands());
  return llvm::TypeSwitch<Operation*, std::optional<Layout>>(op)
      .Case<ConstantOp, IotaOp, BroadcastOp>([](Operation*) { return std::nullopt; })
      .Case<ForOp>([&](ForOp loop) -> std::optional<Layout> {
        const auto number = llvm::cast<mlir::OpResult>(tile).getResultNumber();
        auto layout = follow(loop.yielded()[number]);
        if (!layout) layout = follow(loop.getInits()[number]);
        return layout ? *layout : blocked(tile);
      })
      .Case<IfOp>([&](IfOp branch) -> std::optional<Layout> {
        const auto number = llvm::cast<mlir::OpResult>(tile).getResultNumber();
        auto layout = follow(branch.thenYielded()[number]);
        if (!layout) layout = follow(branch.elseYielded()[number]);
        return layout ? *layout : blocked(tile);
      })
      .Case<DotOp, DotScaledOp>([&](Operation* dot) {
        if (const TileProduct* product = products_.of(dot))
          return productLayout(product->m, product->n, threadBits_);
        if (const auto product = cooperativeProduct(dot, target_))
          return sumsLayout(*product, threadBits_);
        if (const auto product = laneProduct(dot, target_)) return product->sums(threadBits_);
        const auto loop = matrixLoopOf(dot, target_);
        if (!loop) return outerProductLayout(shapeOf(tile), threadBits_);
        return loop->fewRows() ? blockedLayout(shapeOf(tile), threadBits_, 0)
                               : accumulatorLayout(*loop);
      })
      .Case<ReduceOp>([&](ReduceOp reduce) {
        return ownLayout(reduce.getX())
            .renamed(Reduced{shapeOf(reduce.getX()), static_cast<int>(reduce.getAxis())});
      })
      .Case<LoadOp>([&](LoadOp load) -> std::optional<Layout> {
        if (onlyStretched(load) || namesRows(load)) return std::nullopt;
        if (auto layout = wantedByLanes(tile)) return layout;
        return isTransformed(load) ? hadamardLayout(shapeOf(tile), threadBits_) : blocked(tile);
      })
      .Case<GatherOp>([&](GatherOp) {
        const auto layout = wantedByLanes(tile);
        return layout ? *layout : blocked(tile);
      })
      .Default([&](Operation*) { return ofShape(op, tile); });
}

/// As an operand or a scale of a product in lanes.
std::optional<Layout> LayoutAssignment::wantedByLanes(Value tile) const {
  for (Operation* user : tile.getUsers()) {
    if (auto cast = llvm::dyn_cast<CastOp>(user)) {
      if (auto layout = wantedByLanes(cast.getResult())) return layout;
    }
    const auto product = laneProduct(user, target_);
    if (!product) continue;
    const Layout left = product->left(threadBits_), right = product->right(threadBits_);
    if (user->getOperand(0) == tile) return left;
    if (user->getOperand(1) == tile) return right;
    if (auto scaled = llvm::dyn_cast<DotScaledOp>(user)) {
      if (scaled.getAScale() == tile) return left.renamed(Grouped{product->a, shapeOf(tile)});
      if (scaled.getBScale() == tile) return right.renamed(Grouped{product->b, shapeOf(tile)});
    }
  }
  return std::nullopt;
}

/// Whether a load may wait until its consumers say what they want: all of them stretch it, here,
/// and nothing is written there meanwhile.
bool LayoutAssignment::onlyStretched(LoadOp load) {
  if (kernel_.view(load.getView()).getAccess() != Access::read) return false;
  llvm::SmallVector<Operation*> users(load->user_begin(), load->user_end());
  while (!users.empty()) {
    Operation* user = users.pop_back_val();
    if (user->getBlock() != load->getBlock()) return false;
    if (llvm::isa<BroadcastOp>(user)) continue;
    if (!llvm::isa<CastOp, ReshapeOp>(user) || isScalar(user->getResult(0))) return false;
    users.append(user->user_begin(), user->user_end());
  }
  return true;
}

/// Whether the matrix unit transforms rows of what is loaded.
bool LayoutAssignment::isTransformed(LoadOp load) const {
  return target_.matrix >= MatrixUnit::kMma && target_.matrix <= MatrixUnit::kWgmma &&
         load->hasOneUse() && llvm::isa<CastOp>(*load->user_begin()) &&
         hadamardOf(*load->user_begin());
}

/// Whether a load of few numbers waits likewise because it says which rows to gather for products:
/// threads that copy want other ones than those that have the sums.
bool LayoutAssignment::namesRows(tile::LoadOp load) {
  const auto inBlock = [&](Operation* user) { return user->getBlock() == load->getBlock(); };
  return !products_.empty() && shapeOf(load.getResult()).rank() == 1 &&
         kernel_.view(load.getView()).getAccess() == Access::read &&
         llvm::all_of(load->getUsers(), inBlock) &&
         llvm::any_of(load->getUsers(), [](Operation* user) { return llvm::isa<GatherOp>(user); });
}

std::optional<Layout> LayoutAssignment::ofShape(Operation* op, Value tile) {
  if (auto reshape = llvm::dyn_cast<ReshapeOp>(op)) return follow(reshape.getX());
  if (auto transpose = llvm::dyn_cast<TransposeOp>(op)) {
    const auto source = follow(transpose.getX());
    if (!source) return std::nullopt;
    return source->renamed(
        Transposed{shapeOf(transpose.getX()),
                   {transpose.getPermutation().begin(), transpose.getPermutation().end()}});
  }
  if (auto slice = llvm::dyn_cast<SliceOp>(op)) {
    const Layout source = ownLayout(slice.getX());
    if (!slicesRegisters(slice, source)) return blocked(tile);
    const TileShape from = shapeOf(slice.getX());
    const auto axis = static_cast<int>(slice.getAxis());
    const int kept = bitCount(shapeOf(tile), axis);
    return source.renamed(Closed{firstBit(from, axis) + kept, bitCount(from, axis) - kept});
  }
  if (auto split = llvm::dyn_cast<SplitOp>(op))
    return splitSource(ownLayout(split.getX())).renamed(Closed{0});
  if (auto step = llvm::isa<ConcatOp>(op) ? butterflyOf(op) : std::nullopt) {
    const Layout source = ownLayout(step->split.getX());
    const TileShape shape = shapeOf(step->split.getX());
    if (exchangesHalves(source)) return source.renamed(Rotated{bitCount(shape, shape.rank() - 1)});
  }
  if (llvm::isa<ConcatOp, JoinOp>(op)) {
    const auto part = first(op->getOperands());
    const Value a = op->getOperand(0);
    int at = 0;
    if (auto concat = llvm::dyn_cast<ConcatOp>(op)) {
      const auto axis = static_cast<int>(concat.getAxis());
      at = firstBit(shapeOf(a), axis) + bitCount(shapeOf(a), axis);
    }
    return (part ? *part : blocked(a)).renamed(Opened{at}).withRegister(at);
  }
  return blocked(tile);  // gathers, and what passes through memory
}

Layout LayoutAssignment::ownLayout(Value tile) {
  const auto own = follow(tile);
  return own ? *own : blocked(tile);
}

}  // namespace tessera::compiler::simt
