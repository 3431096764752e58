// SPDX-License-Identifier: Apache-2.0
// Matrix loops of up to 32 rows of activations. The product is a read of the other operand, so
// every thread decodes what it read, 16 bytes at once, in its registers, and mma.sync adds up: its
// 16 rows are rows of b, its 8 columns rows of a. Which elements of K a lane holds is free as long
// as both operands agree. Scales multiply the sums of what a quad of lanes read at once, or where
// they change within that, each operand. Warps share K, and their sums meet in workgroup memory
// after the loop.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/half_pairs.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/mma_sync.h"
#include "tessera/compiler/lowering/simt/scope.h"

namespace tessera::compiler::simt {

namespace scf = mlir::scf;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kRows = 16, kColumns = 8;  // of an mma
constexpr int64_t kLanes = 4;                // that share a row

/// Tiles of 8 rows of a.
int64_t columnTiles(const MatrixLoop& loop) { return std::max<int64_t>(1, loop.m / kColumns); }

}  // namespace

/// The scales of an operand in `layout`, one for each register of what load() calls the layout of
/// groups; `scale` may be null.
SmallVector<Value> KernelLowering::scaleCodes(Operation* operand, Operation* scale,
                                              const Layout& layout) {
  if (!scale) return {};
  const Grouped grouped{shapeOf(operand->getResult(0)), shapeOf(scale->getResult(0))};
  const int64_t known = std::exchange(leadingAligned_, 0);  // of the operands alone
  SmallVector<Value> codes = load(scale, layout.renamed(grouped)).values;
  leadingAligned_ = known;
  return codes;
}

/// The operand in `layout` as pairs of bf16, times its scales, from what loadWords() brought, from
/// register `first` on, and scaleCodes().
SmallVector<Value> KernelLowering::pairsOf(Operation* operand, Operation* scale,
                                           const Layout& layout, mlir::ValueRange words,
                                           mlir::ValueRange codes, int64_t first) {
  const DType dtype = dtypeOf(operand->getResult(0));
  SmallVector<Value> pairs;
  for (Value word : words) llvm::append_range(pairs, bf16Pairs(e_, dtype, word));
  if (!scale) return pairs;
  const Grouped grouped{shapeOf(operand->getResult(0)), shapeOf(scale->getResult(0))};
  const Layout groups = layout.renamed(grouped);
  SmallVector<Value> factors;
  for (Value code : codes) factors.push_back(scalePair(e_, code));
  for (auto [i, pair] : llvm::enumerate(pairs)) {
    const int64_t number = first + 2 * static_cast<int64_t>(i);
    const int64_t code = groups.registerOf(grouped.position(layout.registerOffset(number)));
    pair = multiplyPairs(e_, pair, factors[code]);
  }
  return pairs;
}

/// The sums of all warps: [N, columns] each in workgroup memory, then added in order.
Registers KernelLowering::sumOfWarps(const MatrixLoop& loop, const RowsPlan& plan,
                                     mlir::ValueRange sums) {
  ForOp op = loop.loop;
  const Value result = op.getResult(0);
  const Layout& layout = *layouts_.of(result);
  const int64_t tiles = columnTiles(loop), columns = kColumns * tiles, each = loop.n * columns;
  const Array parts = shared_.allocate(e_.loc, DType::f32, each << plan.warpBits);
  shared_.beforeWrite(e_.loc, parts);
  const Value lane = e_.andi(thread_, 31), warp = e_.shr(thread_, 5);
  const Value first =
      e_.add(e_.mul(warp, e_.i32(each)),
             e_.add(e_.mul(e_.shr(lane, 2), e_.i32(columns)), e_.shl(e_.andi(lane, 3), 1)));
  for (auto [i, sum] : llvm::enumerate(sums)) {
    const auto tile = static_cast<int64_t>(i) / kMmaSums, part = static_cast<int64_t>(i) % kMmaSums;
    const int64_t row = kRows * (tile / tiles) + kRows / 2 * (part / 2);
    const int64_t column = kColumns * (tile % tiles) + part % 2;
    memory_.store(e_.loc, sum, parts, e_.add(first, e_.i32(row * columns + column)));
  }
  shared_.beforeRead(e_.loc, parts);
  const lang::TileShape shape = shapeOf(result);
  Registers total = get(op.getInits()[0], layout);
  const Value element =
      e_.add(e_.mul(threadIndex(layout, shape, 1), e_.i32(columns)), threadIndex(layout, shape, 0));
  for (auto [r, value] : llvm::enumerate(total.values)) {
    const auto number = static_cast<int64_t>(r);
    const Value own = e_.add(element, e_.i32(columns * registerIndex(layout, shape, 1, number) +
                                             registerIndex(layout, shape, 0, number)));
    for (int64_t w = 0; w < int64_t{1} << plan.warpBits; ++w)
      value = e_.add(value, memory_.load(e_.loc, parts, e_.add(own, e_.i32(w * each))));
  }
  return total;
}

void KernelLowering::lowerMatrixRows(const MatrixLoop& loop) {
  ForOp op = loop.loop;
  const RowsPlan plan = rowsPlan(loop);
  // Row numbers are brought where the loop wants them before it begins.
  const auto bringRows = [&](Operation* load, const Layout& layout) {
    if (auto gather = llvm::dyn_cast_or_null<GatherOp>(load))
      get(gather.getRows(), layout.renamed(Closed{0, bitCount(shapeOf(gather.getResult()), 1)}));
  };
  bringRows(loop.a, plan.a);
  if (loop.aScale && loop.scalesRowSums(loop.a))
    bringRows(loop.aScale, plan.columns.renamed(Grouped{shapeOf(loop.a->getResult(0)),
                                                        shapeOf(loop.aScale->getResult(0))}));
  const SmallVector<mlir::Type> types(
      static_cast<size_t>(kMmaSums * loop.n / kRows * columnTiles(loop)), e_.f32());
  const SmallVector<Value> sums =
      alignedVersions({loop.a, loop.b}, types, [&] { return sumsOfThread(loop, plan); });
  shared_.forget();
  set(op.getResult(0), sumOfWarps(loop, plan, sums));
}

/// Adds up sums over the turns of a loop: `turn` gives those after a turn from those before it, its
/// scalars lowered. Addresses are computed in each turn: kept over all of them, they would take
/// every register.
SmallVector<Value> KernelLowering::sumsOfTurns(
    ForOp loop, int64_t count, llvm::function_ref<SmallVector<Value>(mlir::ValueRange)> turn) {
  const SmallVector<Value> none(static_cast<size_t>(count), e_.f32(0));
  auto lowered = scf::ForOp::create(e_.builder, e_.loc, scalar(loop.getLo()), scalar(loop.getHi()),
                                    scalar(loop.getStep()), none);
  const Scope scope(*this);
  mlir::OpBuilder::InsertionGuard guard(e_.builder);
  e_.builder.setInsertionPointToEnd(lowered.getBody());
  mlir::Block& body = loop.getBody().front();
  scalars_[body.getArgument(0)] = lowered.getInductionVar();
  const Value thread = std::exchange(thread_, memory_.opaque(e_.loc, thread_));
  for (Operation& inner : body.without_terminator())
    if (inner.getNumResults() == 1 && isScalar(inner.getResult(0))) lowerScalar(&inner);
  scf::YieldOp::create(e_.builder, e_.loc, turn(lowered.getRegionIterArgs()));
  thread_ = thread;
  return lowered.getResults();
}

/// One operand of a turn, each 8 rows of it.
struct KernelLowering::RowsSide {
  Operation *operand, *scale;
  Layout layout, scaled;  // of what is read; of the elements whose scales are held
  int64_t groups, steps, access;
  SmallVector<Value> codes = {}, factors = {};  // of f32, where scales multiply sums
  SmallVector<SmallVector<Value>> words = {};   // of a group, from step `from` on
  int64_t from = 0, ahead = 1;

  /// The first register of a step.
  int64_t at(int64_t group, int64_t step) const { return (group * steps + step) * access; }
  llvm::ArrayRef<Value> wordsOf(int64_t group, int64_t step) const {
    const size_t each = words[group].size() / static_cast<size_t>(ahead);
    return llvm::ArrayRef(words[group]).slice(static_cast<size_t>(step - from) * each, each);
  }
  /// The factor of the sums of row `row` and the elements of a step from number `more` on, among
  /// the rows of a thread; null: none.
  Value factor(int64_t row, int64_t step, int64_t more = 0) const {
    if (factors.empty()) return {};
    const Grouped grouped{shapeOf(operand->getResult(0)), shapeOf(scale->getResult(0))};
    const int64_t element = row * grouped.matrix[1] + layout.registerOffset(at(0, step)) + more;
    return factors[scaled.renamed(grouped).registerOf(grouped.position(element))];
  }
};

KernelLowering::RowsSide KernelLowering::rowsSide(const MatrixLoop& loop, Operation* operand,
                                                  const Layout& layout, const Layout& scaled) {
  const int64_t access = RowsPlan::accessOf(dtypeOf(loop.b->getResult(0)));
  const int64_t groups = std::max<int64_t>(1, shapeOf(operand->getResult(0))[0] / kColumns);
  return {.operand = operand,
          .scale = operand == loop.a ? loop.aScale : loop.bScale,
          .layout = layout,
          .scaled = scaled,
          .groups = groups,
          .steps = layout.registerCount() / groups / access,
          .access = access};
}

/// `ahead` steps from `step` on.
void KernelLowering::readRows(RowsSide& side, int64_t step, int64_t ahead) {
  side.words.clear();
  side.from = step;
  side.ahead = ahead;
  for (int64_t group = 0; group < side.groups; ++group)
    side.words.push_back(
        loadWords(side.operand, side.layout, {side.at(group, step), ahead * side.access, {}}));
}

void KernelLowering::readRowScales(RowsSide& side, bool ofSums) {
  side.codes = scaleCodes(side.operand, side.scale, side.scaled);
  if (!ofSums) return;
  for (Value code : side.codes) side.factors.push_back(decodeFloat(e_, DType::f8e8m0, code));
}

/// What is multiplied of 8 rows in a step.
SmallVector<Value> KernelLowering::pairsOfStep(const MatrixLoop& loop, const RowsSide& side,
                                               int64_t group, int64_t step) {
  const llvm::ArrayRef<Value> words = side.wordsOf(group, step);
  if (!loop.halves)
    return pairsOf(side.operand, side.factors.empty() ? side.scale : nullptr, side.layout, words,
                   side.codes, side.at(group, step));
  SmallVector<Value> pairs;
  if (!loop.lanesTrade) {
    for (Value word : words) llvm::append_range(pairs, halfPairsOfE4m3(e_, word));
  } else if (side.operand == loop.a) {
    for (size_t i = 0; i < words.size(); i += 2)
      llvm::append_range(pairs, halfPairsInOrderOfE2m1(e_, words[i], words[i + 1]));
  } else {
    // Word i of lane j becomes word j of lane i.
    const Layout read{{2, 3}, {0, 1}}, traded{{0, 1}, {2, 3}};
    const auto own = convertByLanes({read, SmallVector<Value>(words)}, traded);
    for (Value word : own->values) llvm::append_range(pairs, halfPairsOfE2m1(e_, word));
  }
  return pairs;
}

/// sums += the products of 16 rows of b and 8 of a in a step.
void KernelLowering::addProducts(const MatrixLoop& loop, const RowsSide& a, const RowsSide& b,
                                 int64_t step, std::pair<int64_t, int64_t> place,
                                 llvm::ArrayRef<SmallVector<Value>> rows, mlir::ValueRange columns,
                                 llvm::MutableArrayRef<Value> sums) {
  const auto [block, tile] = place;
  const SmallVector<Value> none(kMmaSums, e_.f32(0));
  const auto productsOf = [&](size_t first, size_t count, SmallVector<Value> products) {
    for (size_t i = first; i < first + count; i += 2)
      products = multiplyAdd(e_, loop.halves ? PairType::kF16 : PairType::kBf16,
                             {rows[0][i], rows[1][i], rows[0][i + 1], rows[1][i + 1]},
                             {columns[i], columns[i + 1]}, products);
    return products;
  };
  const auto rowOf = [block = block](int64_t part) {
    return kRows * block + kRows / 2 * (part / 2);
  };
  if (a.factors.empty() && b.factors.empty()) {
    llvm::copy(productsOf(0, columns.size(), SmallVector<Value>(sums)), sums.begin());
    return;
  }
  SmallVector<Value> all = none;
  if (!loop.lanesTrade) all = productsOf(0, columns.size(), none);
  // Else what has one scale of b is added up first.
  const size_t count = columns.size() / kLanes;
  for (int64_t i = 0; i < kLanes && loop.lanesTrade; ++i) {
    const SmallVector<Value> products = productsOf(static_cast<size_t>(i) * count, count, none);
    for (int64_t part = 0; part < kMmaSums; ++part)
      all[part] = e_.fma(products[part], b.factor(rowOf(part), step, i * b.access), all[part]);
  }
  for (int64_t part = 0; part < kMmaSums; ++part) {
    const Value ofRow = loop.lanesTrade ? e_.f32(1 / kHalfOfE2m1) : b.factor(rowOf(part), step);
    const Value ofColumn = a.factor(kColumns * tile + part % 2, step);
    const Value factor = ofRow && ofColumn ? e_.mul(ofRow, ofColumn) : ofRow ? ofRow : ofColumn;
    sums[part] = e_.fma(all[part], factor, sums[part]);
  }
}

/// The sums of this thread: of each 16 rows of b, those with each 8 rows of a, in the order of the
/// instruction.
SmallVector<Value> KernelLowering::sumsOfThread(const MatrixLoop& loop, const RowsPlan& plan) {
  const int64_t blocks = loop.n / kRows, tiles = columnTiles(loop);
  const bool ofSums = loop.scalesRowSums(loop.a);
  return sumsOfTurns(loop.loop, kMmaSums * blocks * tiles, [&](mlir::ValueRange before) {
    RowsSide b = rowsSide(loop, loop.b, plan.b, loop.lanesTrade ? plan.rows : plan.b);
    RowsSide a = rowsSide(loop, loop.a, plan.a, ofSums ? plan.columns : plan.a);
    // Wide accesses are under way for all steps before the first one is needed. Narrow ones are too
    // many for that.
    const int64_t ahead = isWide(loop.b, plan.b) ? b.steps : 1;
    const auto read = [&](int64_t step) {
      if (ahead == 1) thread_ = memory_.opaque(e_.loc, thread_);
      readRows(b, step, ahead);
      readRows(a, step, ahead);
    };
    read(0);
    readRowScales(b, loop.lanesTrade || loop.scalesRowSums(loop.b));
    readRowScales(a, ofSums);
    SmallVector<Value> sums(before);
    for (int64_t step = 0; step < b.steps; ++step) {
      if (step > 0 && ahead == 1) read(step);
      SmallVector<SmallVector<Value>> rows;
      for (int64_t group = 0; group < b.groups; ++group)
        rows.push_back(pairsOfStep(loop, b, group, step));
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const SmallVector<Value> columns = pairsOfStep(loop, a, tile, step);
        for (int64_t block = 0; block < blocks; ++block)
          addProducts(
              loop, a, b, step, {block, tile}, llvm::ArrayRef(rows).slice(2 * block, 2), columns,
              llvm::MutableArrayRef(sums).slice(kMmaSums * (block * tiles + tile), kMmaSums));
      }
    }
    return sums;
  });
}

}  // namespace tessera::compiler::simt
