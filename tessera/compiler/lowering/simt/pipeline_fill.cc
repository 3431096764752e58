// SPDX-License-Identifier: Apache-2.0
// The threads of a pipeline that fill stages. What a tensor map describes the copy engine brings,
// at the word of one thread; what stages hold as memory does is copied past the registers, or where
// it is not aligned, piece by piece through them; anything else is read one turn ahead, decoded and
// stored.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/e5m2_codes.h"
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/scope.h"
#include "tessera/compiler/lowering/simt/turns.h"
#include "tessera/compiler/lowering/simt/window.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using mlir::arith::CmpIPredicate;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kRowBytes = MatrixLoop::kRowBytes;
constexpr int64_t kPieceBytes = 16, kPieces = kRowBytes / kPieceBytes;  // of a row

/// What `emit` makes where the condition holds, else `otherwise`.
SmallVector<Value> valuesIf(Emitter& e, Value condition, mlir::ValueRange otherwise,
                            llvm::function_ref<SmallVector<Value>()> emit) {
  auto either = mlir::scf::IfOp::create(e.builder, e.loc, otherwise.getTypes(), condition,
                                        /*withElseRegion=*/true);
  mlir::OpBuilder::InsertionGuard guard(e.builder);
  e.builder.setInsertionPointToEnd(either.thenBlock());
  mlir::scf::YieldOp::create(e.builder, e.loc, emit());
  e.builder.setInsertionPointToEnd(either.elseBlock());
  mlir::scf::YieldOp::create(e.builder, e.loc, otherwise);
  return either.getResults();
}

}  // namespace

/// One operand of a loop as the threads that fill stages see it.
struct KernelLowering::Filling {
  enum class Way : uint8_t { kBoxes, kCopies, kPieces, kDecoded };
  Operation *operand, *scale;
  Way way;
  int64_t rows, offset;  // bytes from the start of the stage
  int64_t parts;
  int64_t bytes, elements;  // of a part; of a swizzled row
  lang::TileShape shape;
  Layout layout;
  Value map;            // of boxes
  size_t words, codes;  // of a thread, from loadWords() and scaleCodes()

  int64_t perPiece() const { return elements / kPieces; }
  /// Registers that fetch() fills.
  size_t fetched() const { return way == Way::kDecoded ? words + codes : 0; }
};

/// The address of the first piece of this thread.
Value KernelLowering::stageBase(const Filling& side, Value stage) {
  const Value row = threadIndex(side.layout, side.shape, 0);
  const Value column = threadIndex(side.layout, side.shape, 1);
  const auto pieceBits = static_cast<int64_t>(llvm::Log2_64(side.perPiece()));
  const auto panelBits = static_cast<int64_t>(llvm::Log2_64(side.elements));
  const Value piece =
      e_.xori(e_.andi(e_.shr(column, pieceBits), kPieces - 1), e_.andi(row, kPieces - 1));
  const Value panel = e_.mul(e_.shr(column, panelBits), e_.i32(side.rows * kRowBytes));
  return e_.add(
      e_.add(stage, e_.i32(side.offset)),
      e_.add(panel, e_.add(e_.mul(row, e_.i32(kRowBytes)), e_.mul(piece, e_.i32(kPieceBytes)))));
}

/// The address of the 16 bytes that begin with register `number`. Piece i of row r lies at the
/// place that is the exclusive or of i and r mod 8.
Value KernelLowering::stagePlace(const Filling& side, Value first, int64_t number) {
  const int64_t row = registerIndex(side.layout, side.shape, 0, number);
  const int64_t column = registerIndex(side.layout, side.shape, 1, number);
  const int64_t bytes = (column / side.elements * side.rows + row) * kRowBytes;
  const int64_t piece = (column / side.perPiece() % kPieces) ^ (row % kPieces);
  return e_.xori(e_.add(first, e_.i32(bytes)), piece * kPieceBytes);
}

/// What the entered turn's stage is made of: words, then codes of scales.
SmallVector<Value> KernelLowering::fetch(const Filling& side) {
  SmallVector<Value> fetched = loadWords(side.operand, side.layout);
  llvm::append_range(fetched, scaleCodes(side.operand, side.scale, side.layout));
  return fetched;
}

void KernelLowering::deposit(const Filling& side, mlir::ValueRange fetched, Value stage) {
  Hopper hopper(e_.builder);
  if (side.parts > 1) return depositParts(side, fetched, stage);
  const SmallVector<Value> pairs =
      pairsOf(side.operand, side.scale, side.layout, fetched.take_front(side.words),
              fetched.drop_front(side.words));
  const Value first = stageBase(side, stage);
  for (size_t i = 0; i < pairs.size(); i += 4)
    hopper.storeWords(e_.loc, mlir::ValueRange(llvm::ArrayRef(pairs).slice(i, 4)),
                      stagePlace(side, first, static_cast<int64_t>(i) / 4 * side.perPiece()));
}

/// Of f32: the largest parts, then the middle ones, then the rest.
void KernelLowering::depositParts(const Filling& side, mlir::ValueRange fetched, Value stage) {
  Hopper hopper(e_.builder);
  const Value first = stageBase(side, stage);
  for (int64_t number = 0; number < side.layout.registerCount(); number += side.perPiece()) {
    SmallVector<SmallVector<Value>> pieces(static_cast<size_t>(side.parts));
    for (int64_t i = number; i < number + side.perPiece(); i += 2)
      for (auto [piece, pair] : llvm::zip(pieces, bf16Parts(e_, fetched[i], fetched[i + 1])))
        piece.push_back(pair);
    for (auto [part, piece] : llvm::enumerate(pieces)) {
      const Value start = e_.add(first, e_.i32(static_cast<int64_t>(part) * side.bytes));
      hopper.storeWords(e_.loc, piece, stagePlace(side, start, number));
    }
  }
}

/// e2m1 as e5m2, relative to the largest scale among what a warp decodes; that is noted beside the
/// stage. Blocks of zeros have no scale.
void KernelLowering::depositWidened(const Filling& side, mlir::ValueRange fetched,
                                    const Place& at) {
  Hopper hopper(e_.builder);
  const mlir::ValueRange words = fetched.take_front(side.words);
  const Grouped grouped{side.shape, shapeOf(side.scale->getResult(0))};
  const Layout groups = side.layout.renamed(grouped);
  constexpr int64_t kCodes = 8;  // of a word
  const int64_t together = RowsPlan::accessOf(DType::f4e2m1);
  struct Block {
    int64_t first;
    mlir::ValueRange words;
    Value scale;
  };
  SmallVector<Block> blocks;
  Value largest = e_.i32(0);
  for (int64_t first = 0; first < side.layout.registerCount(); first += together) {
    const int64_t code = groups.registerOf(grouped.position(side.layout.registerOffset(first)));
    const Block block{first, words.slice(first / kCodes, together / kCodes),
                      e_.zeroExtend(fetched[side.words + code], e_.i32())};
    largest = e_.maxSigned(largest, scaleThatCounts(e_, block.words, block.scale));
    blocks.push_back(block);
  }
  largest = e_.intrinsic("llvm.nvvm.redux.sync.umax", e_.i32(), {largest, e_.i32(-1)});
  const Value lane = e_.andi(thread_, 31), warp = e_.shr(thread_, 5);
  hopper.storeWord(e_.loc, e_.bitcast(e5m2Factor(e_, largest), e_.i32()),
                   e_.add(factorsAt(at), e_.shl(warp, 2)),
                   e_.compare(CmpIPredicate::eq, lane, e_.i32(0)));
  const Value first = stageBase(side, stageAddress(at));
  for (const Block& block : blocks) {
    const SmallVector<Value> codes = e5m2OfE2m1(e_, block.words, block.scale, largest);
    for (int64_t i = 0; i < std::ssize(codes); i += 4)
      hopper.storeWords(e_.loc, mlir::ValueRange(llvm::ArrayRef(codes).slice(i, 4)),
                        stagePlace(side, first, block.first + 4 * i));
  }
}

void KernelLowering::copyByThreads(const Filling& side, Value stage) {
  Hopper hopper(e_.builder);
  const Value first = stageBase(side, stage);
  int64_t number = 0;
  forEachChunk(side.operand, side.layout, [&](const Window&, const Chunk& chunk, int, int64_t) {
    hopper.copyAsync(e_.loc, stagePlace(side, first, number), chunk.address, chunk.inside);
    number += side.perPiece();
  });
}

/// Addresses are computed in each turn: kept over all, they would fill the registers.
void KernelLowering::copyPieces(const Filling& side, Value stage) {
  Hopper hopper(e_.builder);
  const Value thread = std::exchange(thread_, memory_.opaque(e_.loc, thread_));
  const Value first = stageBase(side, stage);
  SmallVector<Value> piece;
  int64_t number = 0;
  forEachWord(side.operand, side.layout, Part(), [&](Value word) {
    piece.push_back(word);
    if (piece.size() < 4) return;
    hopper.storeWords(e_.loc, piece, stagePlace(side, first, number));
    number += side.perPiece();
    piece.clear();
  });
  thread_ = thread;
}

/// One box a panel, by one thread: the first of warp `warp`.
void KernelLowering::copyBoxes(const Filling& side, Value stage, Value full, int64_t warp) {
  Hopper hopper(e_.builder);
  const Value acts = e_.compare(CmpIPredicate::eq, thread_, e_.i32(32 * warp));
  hopper.expectBytes(e_.loc, full, side.bytes, acts);
  SmallVector<Value> from;
  for (Value offset : llvm::reverse(llvm::cast<LoadOp>(side.operand).getOffsets()))
    from.push_back(e_.truncate(scalar(offset), e_.i32()));
  const Value column = from[0];
  for (int64_t panel = 0; panel * side.elements < side.shape[1]; ++panel) {
    from[0] = e_.add(column, e_.i32(panel * side.elements));
    const Value to = e_.add(stage, e_.i32(side.offset + panel * side.rows * kRowBytes));
    hopper.copyBox(e_.loc, side.map, from, to, full, acts);
  }
}

/// Where the operand lies in a stage, and which thread has what of it.
KernelLowering::Filling KernelLowering::fillingOf(const MatrixLoop& loop, Operation* operand) {
  using Way = Filling::Way;
  Operation* const rows = loop.turned() ? loop.b : loop.a;
  const int64_t bytes = size_in_bytes(loop.multiplied, 1);
  Filling side{operand,
               operand == loop.a ? loop.aScale : loop.bScale,
               Way::kDecoded,
               0,
               0,
               MatrixLoop::parts(operand),
               0,
               loop.panel(),
               shapeOf(operand->getResult(0)),
               {},
               {},
               0,
               0};
  side.rows = side.shape[0];
  side.bytes = side.rows * loop.k * bytes;
  side.offset = operand == rows ? 0 : MatrixLoop::parts(rows) * loop.rows() * loop.k * bytes;
  const int64_t width = bits(dtypeOf(operand->getResult(0)));
  const int64_t access = std::max(8 * target_.widestBytes / width, side.perPiece());
  // Pieces are whole, also where some threads have copies of them.
  side.layout =
      blockedLayout(side.shape, layouts_.threadBits(), static_cast<int>(llvm::Log2_64(access)),
                    static_cast<int>(llvm::Log2_64(side.perPiece())));
  return side;
}

/// The elements of a that a thread reads from the stage.
Registers KernelLowering::stagedRows(const MatrixLoop& loop, Value stage) {
  Hopper hopper(e_.builder);
  const Filling side = fillingOf(loop, loop.a);
  const DType dtype = dtypeOf(loop.a->getResult(0));
  const Value first = stageBase(side, stage);
  Registers elements{side.layout, {}};
  for (int64_t number = 0; number < side.layout.registerCount(); number += side.perPiece())
    llvm::append_range(elements.values,
                       unpacked(dtype, hopper.loadWords(e_.loc, stagePlace(side, first, number)),
                                static_cast<int>(side.perPiece()), {}));
  return elements;
}

KernelLowering::Filling KernelLowering::waysOf(const MatrixLoop& loop, Operation* operand) {
  using Way = Filling::Way;
  Filling side = fillingOf(loop, operand);
  const int64_t width = bits(dtypeOf(operand->getResult(0)));
  const auto map = tensorMapOf(loop, operand);
  if (map && aligned_) {
    side.way = Way::kBoxes;
    side.map = memory_.tensorMap(
        e_.loc, static_cast<uint32_t>(llvm::find(pipeline_->maps, *map) - pipeline_->maps.begin()));
  } else if (loop.isPlain(operand)) {
    side.way = isWide(operand, side.layout) ? Way::kCopies : Way::kPieces;
  } else {
    side.words = static_cast<size_t>(side.layout.registerCount() * width / 32);
    if (side.scale)
      side.codes = static_cast<size_t>(
          side.layout.renamed(Grouped{side.shape, shapeOf(side.scale->getResult(0))})
              .registerCount());
  }
  return side;
}

/// Turns whose bytes are under way while one is decoded.
int64_t KernelLowering::turnsAhead(llvm::ArrayRef<Filling> sides) {
  constexpr int64_t kMost = 3, kRegisters = 64, kLeastBytes = 8;
  int64_t registers = 0;
  for (const Filling& side : sides) {
    if (side.way != Filling::Way::kDecoded) continue;
    if (accessBytes(side.operand, side.layout) < kLeastBytes) return 1;
    registers += static_cast<int64_t>(side.fetched());
  }
  return registers == 0 ? 1 : std::clamp<int64_t>(kRegisters / registers, 1, kMost);
}

void KernelLowering::fillStages(const MatrixLoop& loop) {
  const Filling sides[2] = {waysOf(loop, loop.a), waysOf(loop, loop.b)};
  const auto ways = [&](Filling::Way way) { return sides[0].way == way || sides[1].way == way; };
  Hopper hopper(e_.builder);
  const Turns turns = turnsOf(loop);
  const auto fetchAll = [&](Value turn) {
    const Scope scope(*this);
    turns.enter(turn);
    SmallVector<Value> fetched;
    for (const Filling& side : sides)
      if (side.way == Filling::Way::kDecoded) llvm::append_range(fetched, fetch(side));
    return fetched;
  };
  const Value arriving = arrives();
  const auto fill = [&](Value turn, const Place& at, mlir::ValueRange fetched) {
    const Scope scope(*this);
    hopper.wait(e_.loc, barrierAt(pipeline_->empty, at.stage), e_.xori(at.parity, 1));
    turns.enter(turn);
    fillStage(loop, sides, fetched, at);
    if (ways(Filling::Way::kCopies))
      hopper.expectCopies(e_.loc, barrierAt(pipeline_->full, at.stage));
    if (ways(Filling::Way::kPieces) || ways(Filling::Way::kDecoded))
      hopper.showToMatrixUnit(e_.loc);
    // Also where nothing was written: a lane that fell behind by two phases would wait for ever.
    hopper.meetWarp(e_.loc);
    hopper.arrive(e_.loc, barrierAt(pipeline_->full, at.stage), arriving);
  };
  const int64_t ahead = turnsAhead(sides);
  SmallVector<Value> carried;
  for (int64_t turn = 0; turn < ahead; ++turn) llvm::append_range(carried, fetchAll(e_.i32(turn)));
  const size_t words = carried.size() / static_cast<size_t>(ahead), all = carried.size();
  const Place begin = keptPlace();
  carried.append({begin.stage, begin.parity});
  // What a turn has fetched is in registers that the next to use them fetches into when it is
  // stored: so nothing waits for what is still under way.
  const auto fillAndFetch = [&](Value turn, mlir::ValueRange fetched, const Place& at) {
    fill(turn, at, fetched);
    SmallVector<Value> next = fetchAll(e_.add(turn, e_.i32(ahead)));
    const Place after = placeAfter(at);
    next.append({after.stage, after.parity});
    return next;
  };
  const auto results = loop32(
      e_, e_.i32(0), turns.count, e_.i32(ahead), carried, [&](Value turn, mlir::ValueRange now) {
        SmallVector<Value> next;
        SmallVector<Value> place = {now[all], now[all + 1]};
        for (int64_t i = 0; i < ahead; ++i) {
          const mlir::ValueRange fetched = now.slice(static_cast<size_t>(i) * words, words);
          const Value own = e_.add(turn, e_.i32(i));
          SmallVector<Value> before(fetched);
          llvm::append_range(before, place);
          SmallVector<Value> after =
              i == 0 ? fillAndFetch(own, fetched, {place[0], place[1]})
                     : valuesIf(e_, e_.compare(CmpIPredicate::slt, own, turns.count), before,
                                [&] { return fillAndFetch(own, fetched, {place[0], place[1]}); });
          place = {after[words], after[words + 1]};
          next.append(after.begin(), after.begin() + static_cast<int64_t>(words));
        }
        llvm::append_range(next, place);
        return next;
      });
  keepPlace({results[all], results[all + 1]});
}

/// Begins the copies first.
void KernelLowering::fillStage(const MatrixLoop& loop, llvm::ArrayRef<Filling> sides,
                               mlir::ValueRange fetched, const Place& at) {
  const Value stage = stageAddress(at);
  for (auto [number, side] : llvm::enumerate(sides)) {
    if (side.way == Filling::Way::kBoxes)
      copyBoxes(side, stage, barrierAt(pipeline_->full, at.stage), static_cast<int64_t>(number));
    if (side.way == Filling::Way::kCopies) copyByThreads(side, stage);
    if (side.way == Filling::Way::kPieces) copyPieces(side, stage);
  }
  for (const Filling& side : sides) {
    if (side.way != Filling::Way::kDecoded) continue;
    const mlir::ValueRange own = fetched.take_front(side.words + side.codes);
    if (loop.widensCodes())
      depositWidened(side, own, at);
    else
      deposit(side, own, stage);
    fetched = fetched.drop_front(side.words + side.codes);
  }
}

}  // namespace tessera::compiler::simt
