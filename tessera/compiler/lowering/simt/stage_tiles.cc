// SPDX-License-Identifier: Apache-2.0
// Tiles in workgroup memory for the matrix unit. What nobody writes is copied there past the
// registers, and in a loop one turn ahead where there is room for two; anything else is stored from
// registers as soon as it is made. A tile is staged once, however many products read it.
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/scope.h"
#include "tessera/compiler/lowering/simt/window.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int kPieceBits = 3;  // 16 bytes of bf16

}  // namespace

KernelLowering::Staged KernelLowering::reserve(Value tile, int64_t places) {
  const StagedShape& shape = *layouts_.products().staged(tile);
  const Array array =
      shared_.allocate(e_.loc, DType::i32, places * shape.bytes() / 4, StagedShape::kAlignment / 4);
  return {shape, array, memory_.sharedAddress(e_.loc, array)};
}

/// Places for the tiles a block makes; for those of a loop's loads that are copied ahead there are
/// places already.
SmallVector<Value> KernelLowering::reserveStaged(mlir::Block& block) {
  SmallVector<Value> reserved;
  for (Operation& op : block.without_terminator()) {
    if (op.getNumResults() != 1 || op.getNumRegions() != 0) continue;
    const Value tile = op.getResult(0);
    if (layouts_.products().staged(tile) == nullptr || staged_.contains(tile)) continue;
    staged_[tile] = reserve(tile, 1);
    reserved.push_back(tile);
  }
  return reserved;
}

/// The place of the first of this thread's elements in a tile at address 0.
Value KernelLowering::stagedPlace(const StagedShape& to, const lang::TileShape& shape,
                                  const Layout& layout) {
  const Value row = threadIndex(layout, shape, 0), column = threadIndex(layout, shape, 1);
  const Value piece = e_.xori(e_.andi(e_.shr(column, kPieceBits), 7), e_.andi(row, 7));
  const Value panel = e_.mul(e_.shr(column, 6), e_.i32(to.panelBytes()));
  const Value inRow = e_.add(e_.shl(piece, 4), e_.shl(e_.andi(column, 7), 1));
  return e_.add(panel, e_.add(e_.shl(row, 7), inRow));
}

/// From the first place to that of register `number`. Piece i of row r lies at the place that is
/// the exclusive or of i and r mod 8.
Value KernelLowering::stagedPlace(const StagedShape& to, const lang::TileShape& shape,
                                  const Layout& layout, Value first, int64_t number,
                                  int64_t repeat) {
  const int64_t row = registerIndex(layout, shape, 0, number) + repeat * to.rows;
  const int64_t column = registerIndex(layout, shape, 1, number);
  const int64_t bytes = column / StagedShape::kPanel * to.panelBytes() +
                        row * StagedShape::kRowBytes + 2 * (column & 7);
  return e_.xori(e_.add(first, e_.i32(bytes)), (((column >> kPieceBits) & 7) ^ (row & 7)) << 4);
}

void KernelLowering::store(const Registers& from, const lang::TileShape& shape, const Staged& to) {
  Hopper hopper(e_.builder);
  shared_.beforeWrite(e_.loc, to.array);
  const auto put = [&] {
    const Value first = e_.add(to.address, stagedPlace(to.shape, shape, from.layout));
    const int64_t each = int64_t{1} << std::min(from.layout.consecutive(), kPieceBits);
    for (int64_t r = 0; r < from.layout.registerCount(); r += each) {
      const auto units =
          packed(DType::bf16,
                 mlir::ValueRange(llvm::ArrayRef(from.values)
                                      .slice(static_cast<size_t>(r), static_cast<size_t>(each))));
      for (int64_t repeat = 0; repeat < to.shape.repeats; ++repeat)
        hopper.storeWords(e_.loc, units,
                          stagedPlace(to.shape, shape, from.layout, first, r, repeat));
    }
  };
  const Value acts = actsForCopies(from.layout);
  acts ? e_.ifThen(acts, put) : put();
  hopper.showToMatrixUnit(e_.loc);
}

/// Whether a load can go to workgroup memory past the registers.
bool KernelLowering::copiesDirectly(Operation* load) {
  return layouts_.products().readsOnlyStaged(load) &&
         isWide(load, panelLayout(shapeOf(load->getResult(0)), layouts_.threadBits()));
}

void KernelLowering::copyStaged(Operation* load, const StagedShape& to, Value address) {
  Hopper hopper(e_.builder);
  const lang::TileShape shape = shapeOf(load->getResult(0));
  const Layout layout = panelLayout(shape, layouts_.threadBits());
  const auto copy = [&] {
    const Scope scope(*this);
    const Value first = e_.add(address, stagedPlace(to, shape, layout));
    int64_t number = 0;
    forEachChunk(load, layout, [&](const Window&, const Chunk& chunk, int, int64_t) {
      for (int64_t repeat = 0; repeat < to.repeats; ++repeat)
        hopper.copyAsync(e_.loc, stagedPlace(to, shape, layout, first, number, repeat),
                         chunk.address, chunk.inside);
      number += int64_t{1} << kPieceBits;
    });
  };
  const Value acts = actsForCopies(layout);
  acts ? e_.ifThen(acts, copy) : copy();
  hopper.commitCopies(e_.loc);
}

/// What this thread copied has arrived; the matrix unit sees it after the next barrier, whatever
/// barriers there were since the copies began.
void KernelLowering::awaitCopies() {
  Hopper hopper(e_.builder);
  hopper.waitForCopies(e_.loc, 0);
  hopper.showToMatrixUnit(e_.loc);
  shared_.forget();
  copiesPending_ = false;
}

/// The tile of a load or gather that only products read.
void KernelLowering::stageLoad(Operation* load) {
  const Value tile = load->getResult(0);
  const Staged& to = staged_.find(tile)->second;
  if (ahead_ != nullptr && llvm::is_contained(ahead_->loads, load)) {
    if (load != ahead_->loads.front()) return;
    // This turn's tiles are there, and nobody reads those of the turn before any more.
    finishProducts();
    awaitCopies();
    shared_.barrier(e_.loc);
    ahead_->due = true;
    return;
  }
  if (!copiesDirectly(load)) {
    store(this->load(load, panelLayout(shapeOf(tile), layouts_.threadBits())), shapeOf(tile), to);
    return;
  }
  shared_.beforeWrite(e_.loc, to.array);
  copyStaged(load, to.shape, to.address);
  copiesPending_ = true;
}

/// A tile that was made in registers.
void KernelLowering::stageResult(Operation* op) {
  const TileProducts& products = layouts_.products();
  if (op->getNumResults() != 1 || products.readsOnlyStaged(op) ||
      products.decoded(op->getResult(0)))
    return;
  const auto found = staged_.find(op->getResult(0));
  if (found == staged_.end()) return;
  store(get(op->getResult(0)), shapeOf(op->getResult(0)), found->second);
}

/// Loads of a loop whose tiles are copied one turn ahead.
SmallVector<Operation*> KernelLowering::loadsAhead(ForOp loop) {
  SmallVector<Operation*> loads;
  for (Operation& op : loop.getBody().front().without_terminator())
    if (layouts_.products().prefetched(&op) && copiesDirectly(&op)) loads.push_back(&op);
  return loads;
}

/// Emits what the loop's body would with another counter.
void KernelLowering::inTurn(ForOp loop, Value counter, llvm::function_ref<void()> emit) {
  mlir::Block& body = loop.getBody().front();
  const auto scalars = scalars_;
  const auto tiles = tiles_;
  const auto noted = noted_;
  for (auto& [tile, registers] : tiles_)
    if (tile.getParentBlock() == &body) registers.clear();
  scalars_[body.getArgument(0)] = counter;
  emit();
  scalars_ = scalars;
  tiles_ = tiles;
  noted_ = noted;
}

Layout KernelLowering::rowsToCopy(GatherOp gather) {
  const lang::TileShape shape = shapeOf(gather.getResult());
  return panelLayout(shape, layouts_.threadBits()).renamed(Closed{0, bitCount(shape, 1)});
}

/// The rows that the turn with this counter gathers, for threads that copy.
SmallVector<Value> KernelLowering::rowsOfTurn(const Ahead& ahead, Value counter) {
  ForOp loop = ahead.loop;
  SmallVector<Value> rows;
  inTurn(loop, counter, [&] {
    llvm::DenseSet<Value> remade;
    for (Operation* load : ahead.loads)
      if (auto gather = llvm::dyn_cast<GatherOp>(load)) {
        remakeScalars(gather.getRows(), loop.getBody().front(), remade);
        llvm::append_range(rows, get(gather.getRows(), rowsToCopy(gather)).values);
      }
  });
  return rows;
}

/// Copies the tiles of the turn with this counter, if there is one, to their places number `place`.
void KernelLowering::copyAhead(const Ahead& ahead, Value counter, Value place) {
  ForOp loop = ahead.loop;
  e_.ifThen(e_.compare(arith::CmpIPredicate::slt, counter, scalar(loop.getHi())), [&] {
    inTurn(loop, counter, [&] {
      llvm::DenseSet<Value> remade;
      mlir::ValueRange rows = ahead.rows;
      for (Operation* load : ahead.loads) {
        for (Value operand : load->getOperands())
          if (isScalar(operand)) remakeScalars(operand, loop.getBody().front(), remade);
        if (auto gather = llvm::dyn_cast<GatherOp>(load)) {
          const Layout layout = rowsToCopy(gather);
          const auto count = static_cast<size_t>(layout.registerCount());
          tiles_[gather.getRows()] = {{layout, rows.take_front(count)}};
          rows = rows.drop_front(count);
        }
        const Staged& to = staged_.find(load->getResult(0))->second;
        const Value first = memory_.sharedAddress(e_.loc, to.array);
        copyStaged(load, to.shape, e_.add(first, e_.mul(place, e_.i32(to.shape.bytes()))));
      }
    });
  });
}

/// The scalars a value of this block is made of, from the block's counter as it is now.
void KernelLowering::remakeScalars(Value value, mlir::Block& block, llvm::DenseSet<Value>& remade) {
  Operation* op = value.getDefiningOp();
  if (op == nullptr || op->getBlock() != &block || !remade.insert(value).second) return;
  for (Value operand : op->getOperands()) remakeScalars(operand, block, remade);
  if (isScalar(value)) lowerScalar(op);
}

/// Before the loop: the first turn's tiles are on their way, the second one's rows known.
SmallVector<Value> KernelLowering::startAhead(Ahead& ahead) {
  ForOp loop = ahead.loop;
  const Value first = scalar(loop.getLo()), second = e_.add(first, scalar(loop.getStep()));
  for (Operation* load : ahead.loads) {
    const Value tile = load->getResult(0);
    shared_.beforeWrite(e_.loc, (staged_[tile] = reserve(tile, 2)).array);
  }
  ahead.place = e_.i32(0);
  if (!ahead.loads.empty()) {
    ahead.rows = rowsOfTurn(ahead, first);
    copyAhead(ahead, first, ahead.place);
    ahead.rows = rowsOfTurn(ahead, second);
  }
  for (Fetched& source : ahead.fetched)
    if (!source.isScale) {
      source.place = shared_.allocate(e_.loc, DType::i32, source.words() * threads());
      shared_.beforeWrite(e_.loc, source.place);
    }
  for (Fetched& source : ahead.fetched) readRows(loop, source, first);
  for (Fetched& source : ahead.fetched) fetch(loop, source, first);
  return carriedAhead(ahead);
}

/// What a turn hands to the next one.
SmallVector<Value> KernelLowering::carriedAhead(const Ahead& ahead) {
  SmallVector<Value> carried = {ahead.place};
  llvm::append_range(carried, ahead.rows);
  for (const Fetched& source : ahead.fetched) {
    llvm::append_range(carried, source.values);
    llvm::append_range(carried, source.rows);
  }
  return carried;
}

/// In a turn: where its tiles are, and the rows of the next one.
void KernelLowering::startTurn(mlir::ValueRange carried) {
  const auto take = [&](SmallVector<Value>& values) {
    llvm::copy(carried.take_front(values.size()), values.begin());
    carried = carried.drop_front(values.size());
  };
  ahead_->place = Hopper(e_.builder).uniform(e_.loc, carried.front());
  carried = carried.drop_front();
  take(ahead_->rows);
  for (Fetched& source : ahead_->fetched) {
    take(source.values);
    take(source.rows);
  }
  for (Operation* load : ahead_->loads) {
    Staged& to = staged_[load->getResult(0)];
    to.address = e_.add(memory_.sharedAddress(e_.loc, to.array),
                        e_.mul(ahead_->place, e_.i32(to.shape.bytes())));
  }
}

/// Behind the loop. Codes of a turn behind the last are on their way to memory that others have
/// next.
void KernelLowering::endAhead(const Ahead& ahead) {
  const auto isCopied = [](const Fetched& source) { return !source.isScale; };
  if (llvm::any_of(ahead.fetched, isCopied)) Hopper(e_.builder).waitForCopies(e_.loc, 0);
  for (Operation* load : ahead.loads) staged_.erase(load->getResult(0));
  shared_.forget();
}

/// Everything of this turn has arrived: the next one's tiles are copied, and the rows read of the
/// one behind it, so that copies never wait for their addresses. The turn's first product begins
/// before this, which takes some hundred instructions.
void KernelLowering::advanceIfDue() {
  if (ahead_ == nullptr) return;
  ForOp loop = ahead_->loop;
  const auto after = [&] {
    return e_.add(scalar(loop.getBody().front().getArgument(0)), scalar(loop.getStep()));
  };
  for (Fetched& source : ahead_->fetched)
    if (std::exchange(source.due, false)) fetch(loop, source, after());
  if (!std::exchange(ahead_->due, false)) return;
  const Value next = after();
  ahead_->place = e_.xori(ahead_->place, 1);
  copyAhead(*ahead_, next, ahead_->place);
  ahead_->rows = rowsOfTurn(*ahead_, e_.add(next, scalar(loop.getStep())));
}

}  // namespace tessera::compiler::simt
