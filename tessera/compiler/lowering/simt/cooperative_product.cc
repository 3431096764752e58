// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/cooperative_product.h"

#include <algorithm>

#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/simt/cooperative_matrix.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/read_only.h"

namespace tessera::compiler::simt {

using lang::TileShape;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kSize = CooperativeMatrix::kSize;
constexpr int64_t kMostColumns = 64;                       // of a subgroup at once
constexpr int64_t kPiece = 2 * ThreadMemory::kPieceWords;  // elements of bf16
constexpr int64_t kPadding = 4;  // words behind a row, so that rows lie in different banks
constexpr int64_t kOtherBytes = 4096;

/// What brings the elements of a tile, in their order, if nobody writes them: they can be read
/// again wherever they are needed.
Operation* readOf(Value tile) {
  while (auto reshape = tile.getDefiningOp<ReshapeOp>()) tile = reshape.getX();
  Operation* op = tile.getDefiningOp();
  return op != nullptr && isReadOnly(op) ? op : nullptr;
}

}  // namespace

std::optional<CooperativeProduct> cooperativeProduct(Operation* op, const SimtTarget& target) {
  auto dot = llvm::dyn_cast<DotOp>(op);
  if (!dot || target.matrix != MatrixUnit::kCooperative ||
      tile::dtypeOf(dot.getResult()) != DType::f32 || tile::dtypeOf(dot.getA()) != DType::bf16 ||
      tile::dtypeOf(dot.getB()) != DType::bf16 || matrixLoopOf(op, target))
    return std::nullopt;
  const TileShape a = shapeOf(dot.getA()), out = shapeOf(dot.getResult());
  const CooperativeProduct product{dot, out[0], out[1], a[1], dot.getBIsKn() != 0};
  const bool fits = product.m % kSize == 0 && product.n % kSize == 0 && product.k % kSize == 0;
  return fits ? std::optional(product) : std::nullopt;
}

bool holdsCooperativeProduct(Operation* op, const SimtTarget& target) {
  return op
      ->walk([&](DotOp dot) {
        return cooperativeProduct(dot, target) ? mlir::WalkResult::interrupt()
                                               : mlir::WalkResult::advance();
      })
      .wasInterrupted();
}

ProductShares productShares(const CooperativeProduct& product, int threadBits) {
  const int64_t groups = int64_t{1} << (threadBits - CooperativeMatrix::kLaneBits);
  ProductShares shares;
  shares.rowGroups = std::min(groups, product.m / kSize);
  shares.columnGroups = std::min(groups / shares.rowGroups, product.n / kSize);
  shares.columns = std::min(product.n / shares.columnGroups, kMostColumns);
  return shares;
}

Layout sumsLayout(const CooperativeProduct& product, int threadBits) {
  const ProductShares shares = productShares(product, threadBits);
  const int ownColumns = static_cast<int>(llvm::Log2_64(product.n));
  const int ownRows = static_cast<int>(llvm::Log2_64(product.m));
  const int columns = static_cast<int>(llvm::Log2_64(shares.columns));
  const int columnGroups = static_cast<int>(llvm::Log2_64(shares.columnGroups));
  const int rowGroups = static_cast<int>(llvm::Log2_64(shares.rowGroups));
  constexpr int kInRow = 3, kRowBits = 4;  // registers side by side; rows of a matrix
  Layout layout;
  const auto lane = [&](int bit) {
    const bool free = static_cast<int>(layout.threads.size()) < CooperativeMatrix::kLaneBits;
    (free ? layout.threads.push_back(static_cast<int8_t>(bit))
          : layout.registers.push_back(static_cast<int8_t>(bit)));
  };
  const auto held = [&](int bit) { layout.registers.push_back(static_cast<int8_t>(bit)); };
  const auto group = [&](int bit) { layout.threads.push_back(static_cast<int8_t>(bit)); };
  for (int bit = 0; bit < kInRow; ++bit) held(bit);
  for (int bit = kInRow; bit < std::min(columns, kInRow + 2); ++bit) lane(bit);
  for (int bit = kInRow + 2; bit < columns; ++bit) held(bit);
  for (int bit = 0; bit < kRowBits; ++bit) lane(ownColumns + bit);
  for (int bit = 0; bit < columnGroups; ++bit) group(columns + bit);
  for (int bit = columns + columnGroups; bit < ownColumns; ++bit) held(bit);
  for (int bit = 0; bit < rowGroups; ++bit) group(ownColumns + kRowBits + bit);
  for (int bit = kRowBits + rowGroups; bit < ownRows; ++bit) held(ownColumns + bit);
  layout.threads.resize(static_cast<size_t>(threadBits), Layout::kCopies);
  llvm::sort(layout.registers);
  return layout;
}

/// Rows and columns of an operand, and where they lie in workgroup memory as pairs of bf16.
struct KernelLowering::OperandPart {
  Value tile;
  int64_t row, rows, column, columns;
  int64_t stride() const { return columns / 2 + kPadding; }
  int64_t words() const { return rows * stride(); }
};

/// From memory, eight elements at a time.
void KernelLowering::copyPart(Operation* read, const OperandPart& part, const Array& to) {
  const TileShape shape = shapeOf(part.tile), own{part.rows, part.columns};
  const int rowBit = bitCount(shape, 1), ownRowBit = bitCount(own, 1);
  const auto inTile = [&](int bit) { return bit < ownRowBit ? bit : bit - ownRowBit + rowBit; };
  const Layout layout = blockedLayout(own, layouts_.threadBits(), 3, 3);
  Layout whole = layout.renamed(inTile);
  for (int bit = ownRowBit; bit < rowBit; ++bit) whole = whole.withRegister(bit);
  for (int bit = rowBit + bitCount(own, 0); bit < positionBits(shape); ++bit)
    whole = whole.withRegister(bit);
  // Row numbers may pass through workgroup memory themselves.
  if (auto gather = llvm::dyn_cast<GatherOp>(read))
    get(gather.getRows(), whole.renamed(Closed{0, rowBit}));
  shared_.beforeWrite(e_.loc, to);
  const Value base = e_.add(e_.mul(threadIndex(layout, own, 0), e_.i32(part.stride())),
                            e_.shr(threadIndex(layout, own, 1), 1));
  for (int64_t number = 0; number < layout.registerCount(); number += kPiece) {
    const int64_t row = registerIndex(layout, own, 0, number);
    const int64_t column = registerIndex(layout, own, 1, number);
    const int64_t position = (part.row + row) * shape[1] + part.column + column;
    const int64_t offset = row * part.stride() + column / 2;
    memory_.storePiece(e_.loc, loadWords(read, whole, {whole.registerOf(position), kPiece, {}}), to,
                       e_.add(base, e_.i32(offset)));
  }
}

/// From the registers of those threads that have some of it.
void KernelLowering::storePart(const OperandPart& part, const Array& to) {
  const TileShape shape = shapeOf(part.tile);
  Registers own = get(part.tile);
  if (own.layout.consecutive() == 0)
    own = get(part.tile, blockedLayout(shape, layouts_.threadBits(), 3, 1));
  shared_.beforeWrite(e_.loc, to);
  const int64_t others = shape.numel() - 1 - (part.rows - 1) * shape[1] - (part.columns - 1);
  const int64_t first = part.row * shape[1] + part.column;
  int64_t byThreads = 0;
  for (int bit : own.layout.threads)
    if (bit != Layout::kCopies) byThreads |= int64_t{1} << bit;
  const auto put = [&] {
    const Value row = e_.andi(threadIndex(own.layout, shape, 0), part.rows - 1);
    const Value column = e_.andi(threadIndex(own.layout, shape, 1), part.columns - 1);
    const Value base = e_.add(e_.mul(row, e_.i32(part.stride())), e_.shr(column, 1));
    for (int64_t r = 0; r < own.layout.registerCount(); r += 2) {
      const int64_t position = own.layout.registerOffset(r);
      if ((position & others) != (first & others & ~byThreads)) continue;
      const int64_t offset = (position / shape[1] & (part.rows - 1)) * part.stride() +
                             (position & (part.columns - 1)) / 2;
      const Value low = e_.zeroExtend(own.values[r], e_.i32());
      const Value high = e_.shl(e_.zeroExtend(own.values[r + 1], e_.i32()), 16);
      memory_.store(e_.loc, e_.ori(low, high), to, e_.add(base, e_.i32(offset)));
    }
  };
  const int64_t decided = others & byThreads;
  if (decided == 0) return put();
  e_.ifThen(e_.compare(mlir::arith::CmpIPredicate::eq, e_.andi(threadPosition(own.layout), decided),
                       e_.i32(first & decided)),
            put);
}

Array KernelLowering::stagePart(const OperandPart& part) {
  const Array to = shared_.allocate(e_.loc, DType::i32, part.words());
  Operation* read = readOf(part.tile);
  if (read != nullptr)
    copyPart(read, part, to);
  else
    storePart(part, to);
  return to;
}

/// The sums of this subgroup in a chunk of columns += what a piece of K gives, block by block.
void KernelLowering::multiplyParts(const CooperativeProduct& product, const OperandPart& a,
                                   const Array& left, const OperandPart& b, const Array& right,
                                   llvm::MutableArrayRef<Value> sums) {
  using Operand = CooperativeMatrix::Operand;
  const ProductShares shares = productShares(product, layouts_.threadBits());
  CooperativeMatrix matrix(e_.builder, memory_);
  const int64_t blocks = product.m / shares.rowGroups / kSize, columns = shares.columns / kSize;
  const Value group = memory_.subgroup(e_.loc);
  const Value rowGroup =
      e_.andi(e_.shr(group, llvm::Log2_64(shares.columnGroups)), shares.rowGroups - 1);
  const Value row = e_.mul(rowGroup, e_.i32(kSize * a.stride()));
  const Value column = e_.mul(e_.andi(group, shares.columnGroups - 1),
                              e_.i32(shares.columns * (product.bIsKn ? 1 : 2 * b.stride()) / 2));
  for (int64_t k = 0; k < a.columns; k += kSize)
    for (int64_t i = 0; i < columns; ++i) {
      const int64_t to =
          product.bIsKn ? k * b.stride() + i * kSize / 2 : i * kSize * b.stride() + k / 2;
      const Value of = matrix.load(e_.loc, product.bIsKn ? Operand::kB : Operand::kTurnedB, right,
                                   e_.add(column, e_.i32(to)), b.stride());
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t from = block * shares.rowGroups * kSize * a.stride() + k / 2;
        const Value with =
            matrix.load(e_.loc, Operand::kA, left, e_.add(row, e_.i32(from)), a.stride());
        Value& sum = sums[block * columns + i];
        sum = matrix.multiplyAdd(e_.loc, with, of, sum);
      }
    }
}

/// Adds the sums of the chunk that begins at `first` to the registers of all threads.
void KernelLowering::addSums(const CooperativeProduct& product, mlir::ValueRange sums,
                             int64_t first, Registers& total) {
  const ProductShares shares = productShares(product, layouts_.threadBits());
  CooperativeMatrix matrix(e_.builder, memory_);
  const TileShape shape{product.m, product.n};
  const int64_t columns = shares.columns / kSize, stride = shares.columns + kPadding;
  const int64_t groups = layouts_.threads() >> CooperativeMatrix::kLaneBits;
  const int64_t top = shared_.top();
  const Array parts = shared_.allocate(e_.loc, DType::f32, groups * kSize * stride);
  const Value own = e_.mul(memory_.subgroup(e_.loc), e_.i32(kSize * stride));
  const Value row = e_.andi(threadIndex(total.layout, shape, 0), kSize - 1);
  const Value column = e_.andi(threadIndex(total.layout, shape, 1), shares.columns - 1);
  const Value base = e_.add(own, e_.add(e_.mul(row, e_.i32(stride)), column));
  const int64_t rowStep = kSize * shares.rowGroups;
  for (int64_t block = 0; block * rowStep < product.m; ++block) {
    shared_.beforeWrite(e_.loc, parts);
    for (int64_t i = 0; i < columns; ++i)
      matrix.store(e_.loc, sums[block * columns + i], parts, e_.add(own, e_.i32(i * kSize)),
                   stride);
    shared_.beforeRead(e_.loc, parts);
    for (auto [r, value] : llvm::enumerate(total.values)) {
      const auto number = static_cast<int64_t>(r);
      const int64_t at = registerIndex(total.layout, shape, 0, number);
      const int64_t over = registerIndex(total.layout, shape, 1, number);
      if (at / rowStep != block || over / shares.chunk() * shares.chunk() != first) continue;
      const int64_t offset = at % kSize * stride + over % shares.columns;
      value = e_.add(value, memory_.load(e_.loc, parts, e_.add(base, e_.i32(offset))));
    }
  }
  shared_.release(top);
}

void KernelLowering::lowerCooperativeProduct(const CooperativeProduct& product) {
  DotOp dot = product.dot;
  const ProductShares shares = productShares(product, layouts_.threadBits());
  const Layout& layout = *layouts_.of(dot.getResult());
  CooperativeMatrix matrix(e_.builder, memory_);
  const auto left = [&](int64_t k, int64_t count) {
    return OperandPart{dot.getA(), 0, product.m, k, count};
  };
  const auto right = [&](int64_t n, int64_t k, int64_t count) {
    return product.bIsKn ? OperandPart{dot.getB(), k, count, n, shares.chunk()}
                         : OperandPart{dot.getB(), n, shares.chunk(), k, count};
  };
  Registers total = get(dot.getAcc(), layout);
  // As much of K at a time as the memory holds.
  const int64_t top = shared_.top(), room = (target_.sharedBytes - kOtherBytes) / 4 - top;
  int64_t piece = product.k;
  while (piece > kSize && left(0, piece).words() + right(0, 0, piece).words() > room) piece /= 2;
  Array a;
  if (piece == product.k) a = stagePart(left(0, piece));
  for (int64_t chunk = 0; chunk < product.n; chunk += shares.chunk()) {
    const int64_t below = shared_.top();
    SmallVector<Value> sums(
        static_cast<size_t>(product.m / shares.rowGroups / kSize * (shares.columns / kSize)),
        matrix.zeros(e_.loc));
    for (int64_t k = 0; k < product.k; k += piece) {
      if (piece != product.k) a = stagePart(left(k, piece));
      const Array b = stagePart(right(chunk, k, piece));
      shared_.beforeRead(e_.loc, {a, b});
      multiplyParts(product, left(k, piece), a, right(chunk, k, piece), b, sums);
      shared_.release(below);
    }
    addSums(product, sums, chunk, total);
  }
  shared_.release(top);
  set(dot.getResult(), total);
}

}  // namespace tessera::compiler::simt
