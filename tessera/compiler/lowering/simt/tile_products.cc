// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/tile_products.h"

#include <algorithm>

#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/read_only.h"

namespace tessera::compiler::simt {

using lang::TileShape;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kRows = 64;       // of the instruction
constexpr int64_t kStep = 16;       // of K
constexpr int kGroupBits = 7;       // log2 of the threads of a warpgroup
constexpr int64_t kMostSums = 128;  // of a thread
/// Of workgroup memory left for reductions and conversions.
constexpr int64_t kOtherBytes = 20 << 10;

std::optional<TileProduct> match(DotOp dot, const SimtTarget& target) {
  if (tile::dtypeOf(dot.getResult()) != DType::f32 || tile::dtypeOf(dot.getA()) != DType::bf16 ||
      tile::dtypeOf(dot.getB()) != DType::bf16)
    return std::nullopt;
  const TileShape a = shapeOf(dot.getA()), out = shapeOf(dot.getResult());
  TileProduct product{dot, out[0], out[1], a[1], dot.getBIsKn() != 0};
  const bool fits = product.k % kStep == 0 && product.n % 8 == 0 &&
                    std::max(product.m, kRows) * product.n <= kMostSums * target.threads;
  return fits ? std::optional(product) : std::nullopt;
}

/// Whether a tile can be made by any thread in any layout, without memory.
bool isComputed(Value tile) {
  Operation* op = tile.getDefiningOp();
  if (isScalar(tile) || op == nullptr) return isScalar(tile);
  return (isElementwise(op) || llvm::isa<ConstantOp, IotaOp, BroadcastOp, ReshapeOp>(op)) &&
         llvm::all_of(op->getOperands(), isComputed);
}

bool stretchesLast(BroadcastOp broadcast) {
  return shapeOf(broadcast.getX()).last() != shapeOf(broadcast.getResult()).last();
}

/// A slice that products can read where its tile lies.
bool canStayInTile(SliceOp slice, const SimtTarget& target) {
  constexpr int64_t kRowsOfPattern = 8;  // of the swizzle
  const TileShape from = shapeOf(slice.getX()), to = shapeOf(slice.getResult());
  const auto start = static_cast<int64_t>(slice.getStart());
  const bool aligned =
      from.rank() == 2 &&
      (slice.getAxis() == 0 ? start % kRowsOfPattern == 0
                            : start % StagedShape::kPanel == 0 && to[1] % StagedShape::kPanel == 0);
  return aligned && llvm::all_of(slice->getUses(), [&](mlir::OpOperand& use) {
           auto dot = llvm::dyn_cast<DotOp>(use.getOwner());
           return dot && use.getOperandNumber() < 2 && match(dot, target);
         });
}

/// Finds what a tile is made of, where all of it can be done on pairs of neighbours in a row.
struct PairSearch {
  mlir::Block* block;
  llvm::DenseSet<Operation*> found = {};
  bool narrow = false;  // there are numbers of 8 bits

  bool here(Operation* op) {
    if (op == nullptr || op->getBlock() != block) return false;
    found.insert(op);
    return true;
  }
  /// One power of two for both.
  bool isScale(Value tile) {
    Operation* op = tile.getDefiningOp();
    if (!here(op)) return false;
    if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) return isScale(broadcast.getX());
    if (auto reshape = llvm::dyn_cast<ReshapeOp>(op)) return isScale(reshape.getX());
    if (auto cast = llvm::dyn_cast<CastOp>(op)) return isScale(cast.getX());
    return isReadOnly(op) && tile::dtypeOf(tile) == DType::f8e8m0;
  }
  bool isPairs(Value tile) {
    Operation* op = tile.getDefiningOp();
    if (!here(op)) return false;
    if (auto cast = llvm::dyn_cast<CastOp>(op)) return isPairs(cast.getX());
    if (auto reshape = llvm::dyn_cast<ReshapeOp>(op)) return isPairs(reshape.getX());
    if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op))
      return !stretchesLast(broadcast) && isPairs(broadcast.getX());
    if (auto select = llvm::dyn_cast<SelectOp>(op)) {
      auto condition = select.getA().getDefiningOp<BroadcastOp>();
      return condition && stretchesLast(condition) && isComputed(condition) &&
             isPairs(select.getB()) && isPairs(select.getC());
    }
    if (auto mul = llvm::dyn_cast<MulOp>(op)) {
      auto factor = mul.getB().getDefiningOp<BroadcastOp>();
      return factor && stretchesLast(factor) && isScale(factor) && isPairs(mul.getA());
    }
    const DType dtype = tile::dtypeOf(tile);
    narrow |= dtype == DType::f8e4m3;
    return isReadOnly(op) && (dtype == DType::bf16 || dtype == DType::f8e4m3);
  }
};

}  // namespace

int64_t TileProduct::sums() const { return std::max(m, kRows) * n; }

int64_t StagedShape::bytes() const { return llvm::divideCeil(columns, kPanel) * panelBytes(); }

TileProducts::TileProducts(KernelOp kernel, const SimtTarget& target) {
  if (target.matrix != MatrixUnit::kWgmma || holdsMatrixLoop(kernel, target)) return;
  kernel->walk([&](DotOp dot) {
    const auto product = match(dot, target);
    if (!product) return;
    products_[dot] = *product;
    stage(dot.getA(), true, target);
    stage(dot.getB(), false, target);
    const int64_t sums = product->sums();
    const auto threads = static_cast<int>(llvm::Log2_64_Ceil(llvm::divideCeil(sums, kMostSums)));
    leastThreadBits_ = std::max({leastThreadBits_, kGroupBits, threads});
  });
  const int64_t room = target.sharedBytes - kOtherBytes;
  mlir::Block& body = kernel.getBody().front();
  if (bytesOf(body) > room) {
    products_.clear();
    staged_.clear();
    folded_.clear();
    return;
  }
  choosePrefetched(kernel, room);
  for (const auto& [tile, shape] : staged_) chooseDecoded(tile);
  kernel->walk([&](mlir::Block* block) { countSums(*block); });
}

/// Of the places that are there at once while the block runs.
int64_t TileProducts::bytesOf(mlir::Block& block) const {
  int64_t own = 0, inner = 0;
  const auto add = [&](Value tile) {
    if (const StagedShape* shape = staged(tile))
      own += shape->bytes() * (prefetched(tile.getDefiningOp()) ? 2 : 1);
  };
  for (Operation& op : block) {
    if (op.getNumRegions() == 0) llvm::for_each(op.getResults(), add);
    for (mlir::Region& region : op.getRegions()) inner = std::max(inner, bytesOf(region.front()));
    if (of(&op) == nullptr) continue;
    for (Value operand : op.getOperands().take_front(2))  // those that no operation stages
      if (Operation* made = operand.getDefiningOp(); made == nullptr || made->getNumRegions() != 0)
        add(operand);
  }
  return own + inner;
}

/// A product's sums are there until the last operation that reads them, or what is made of them
/// element by element.
void TileProducts::countSums(mlir::Block& block) {
  llvm::DenseMap<Operation*, int64_t> place;
  for (Operation& op : block) place[&op] = static_cast<int64_t>(place.size());
  llvm::SmallVector<int64_t> there(place.size(), 0);
  for (Operation& op : block) {
    const TileProduct* product = of(&op);
    if (product == nullptr) continue;
    int64_t last = place[&op] + 1;
    llvm::SmallVector<Operation*> readers(op.user_begin(), op.user_end());
    while (!readers.empty()) {
      Operation* reader = block.findAncestorOpInBlock(*readers.pop_back_val());
      if (reader == nullptr) continue;
      last = std::max(last, place[reader]);
      if (isElementwise(reader) || llvm::isa<ReshapeOp>(reader))
        readers.append(reader->user_begin(), reader->user_end());
    }
    for (int64_t at = place[&op]; at < last; ++at) there[at] += product->sums();
  }
  for (int64_t sums : there) mostSums_ = std::max(mostSums_, sums);
}

void TileProducts::stage(Value operand, bool isA, const SimtTarget& target) {
  auto slice = operand.getDefiningOp<SliceOp>();
  const bool inTile = slice && canStayInTile(slice, target) &&
                      (slice.getAxis() == 1 || shapeOf(slice.getX())[0] >= kRows);
  if (inTile) folded_.insert(slice);
  const Value tile = inTile ? slice.getX() : operand;
  const TileShape shape = shapeOf(tile);
  StagedShape& staged = staged_[tile];
  staged.rows = shape[0];
  staged.columns = shape[1];
  if (isA) staged.repeats = std::max<int64_t>(1, kRows / shape[0]);
}

StagedPart TileProducts::part(Value operand) const {
  auto slice = operand.getDefiningOp<SliceOp>();
  if (!slice || !folded_.contains(slice)) return {operand};
  const auto start = static_cast<int64_t>(slice.getStart());
  return slice.getAxis() == 0 ? StagedPart{slice.getX(), start, 0}
                              : StagedPart{slice.getX(), 0, start};
}

/// Whether it is a product that reads a staged tile, perhaps a slice of it.
bool TileProducts::isRead(mlir::OpOperand& use) const {
  Operation* user = use.getOwner();
  return (llvm::isa<SliceOp>(user) && folded_.contains(user)) ||
         (of(user) != nullptr && use.getOperandNumber() < 2);
}

/// In the order of the kernel, where there is room for a second place.
void TileProducts::choosePrefetched(KernelOp kernel, int64_t room) {
  kernel->walk([&](Operation* op) {
    if (!llvm::isa<LoadOp, GatherOp>(op) || !isReadOnly(op)) return;
    const StagedShape* shape = staged(op->getResult(0));
    auto loop = llvm::dyn_cast<ForOp>(op->getParentOp());
    if (shape == nullptr || !loop || !readsOnlyStaged(op)) return;
    if (!llvm::all_of(op->getOperands(), [&](Value value) { return canBeRemade(value, loop); }))
      return;
    prefetched_.insert(op);
    if (bytesOf(kernel.getBody().front()) > room) prefetched_.erase(op);
  });
}

/// Everything but the tile itself must be for it alone.
void TileProducts::chooseDecoded(Value tile) {
  Operation* root = tile.getDefiningOp();
  if (root == nullptr || readsOnlyStaged(root)) return;
  PairSearch search{root->getBlock()};
  if (!search.isPairs(tile) || !search.narrow) return;
  for (Operation* op : search.found)
    for (mlir::OpOperand& use : op->getUses())
      if (op == root ? !isRead(use) : !search.found.contains(use.getOwner())) return;
  decoded_.insert(tile);
  for (Operation* op : search.found)
    if (op != root) folded_.insert(op);
}

bool TileProducts::fits(mlir::Block& block, int64_t bytes, const SimtTarget& target) const {
  return bytesOf(block) + bytes <= target.sharedBytes - kOtherBytes;
}

const TileProduct* TileProducts::of(Operation* dot) const {
  const auto found = products_.find(dot);
  return found == products_.end() ? nullptr : &found->second;
}

const StagedShape* TileProducts::staged(Value tile) const {
  const auto found = staged_.find(tile);
  return found == staged_.end() ? nullptr : &found->second;
}

bool TileProducts::readsOnlyStaged(Operation* load) const {
  if (!llvm::isa<LoadOp, GatherOp>(load) || staged(load->getResult(0)) == nullptr) return false;
  return llvm::all_of(load->getResult(0).getUses(),
                      [&](mlir::OpOperand& use) { return isRead(use); });
}

/// Lane 4 g + t of a warp's 16 rows holds rows g and g + 8, of each 8 columns 2 t and 2 t + 1.
Layout productLayout(int64_t m, int64_t n, int threadBits) {
  const int columns = static_cast<int>(llvm::Log2_64(n)), rows = static_cast<int>(llvm::Log2_64(m));
  const auto row = [&](int bit) {
    return static_cast<int8_t>(bit < rows ? columns + bit : Layout::kCopies);
  };
  Layout layout;
  layout.threads = {1, 2, row(0), row(1), row(2), row(4), row(5)};
  int nextRow = 6, lastColumn = columns - 1;
  while (static_cast<int>(layout.threads.size()) < threadBits) {
    if (nextRow < rows)
      layout.threads.push_back(row(nextRow++));
    else
      layout.threads.push_back(
          static_cast<int8_t>(lastColumn >= 3 ? lastColumn-- : Layout::kCopies));
  }
  layout.registers.push_back(0);
  for (int bit = 3; bit <= lastColumn; ++bit) layout.registers.push_back(static_cast<int8_t>(bit));
  if (rows > 3) layout.registers.push_back(row(3));
  for (int bit = nextRow; bit < rows; ++bit) layout.registers.push_back(row(bit));
  return layout;
}

Layout panelLayout(const TileShape& shape, int threadBits, int pieceBits) {
  constexpr int kPanelBits = 6;
  const int columns = bitCount(shape, 1), all = positionBits(shape);
  llvm::SmallVector<int> order;  // of bits to be held by threads
  for (int bit = pieceBits; bit < std::min(columns, kPanelBits); ++bit) order.push_back(bit);
  for (int bit = columns; bit < all; ++bit) order.push_back(bit);
  for (int bit = kPanelBits; bit < columns; ++bit) order.push_back(bit);
  Layout layout;
  for (int bit = 0; bit < std::min(columns, pieceBits); ++bit)
    layout.registers.push_back(static_cast<int8_t>(bit));
  for (int t = 0; t < threadBits; ++t)
    layout.threads.push_back(
        static_cast<int8_t>(t < static_cast<int>(order.size()) ? order[t] : Layout::kCopies));
  for (size_t i = static_cast<size_t>(threadBits); i < order.size(); ++i)
    layout.registers.push_back(static_cast<int8_t>(order[i]));
  llvm::sort(layout.registers);
  return layout;
}

bool canBeRemade(Value value, ForOp loop) {
  mlir::Block& body = loop.getBody().front();
  if (!loop.getBody().isAncestor(value.getParentRegion())) return true;
  Operation* op = value.getDefiningOp();
  if (op == nullptr) return value == body.getArgument(0);
  if (op->getBlock() != &body) return false;
  const bool pure =
      isElementwise(op) ||
      llvm::isa<ConstantOp, IotaOp, BroadcastOp, ReshapeOp, ExtentOp, ScalarArgOp, ProgramIdOp>(op);
  if (!pure && !(llvm::isa<LoadOp>(op) && isReadOnly(op))) return false;
  return llvm::all_of(op->getOperands(), [&](Value x) { return canBeRemade(x, loop); });
}

}  // namespace tessera::compiler::simt
