// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/hadamard.h"

#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/butterfly.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/mma_sync.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int kLeastBits = 5;          // of a row: three consecutive elements, two lanes
constexpr int kFirstLane = 3;          // bits 3 and 4 of a row are lanes' bits 0 and 1
constexpr int64_t kOnes = 0x3f803f80;  // a pair of bf16
constexpr int64_t kSigns = 0x80008000;

int rowBits(const lang::TileShape& shape) { return bitCount(shape, shape.rank() - 1); }

/// The step before that a step transforms the result of; null: it is the first.
std::optional<Butterfly> before(Butterfly step) {
  auto concat = step.split.getX().getDefiningOp<ConcatOp>();
  return concat && concat->hasOneUse() ? butterflyOf(concat) : std::nullopt;
}

std::optional<Butterfly> after(Butterfly step) {
  auto split =
      step.concat->hasOneUse() ? llvm::dyn_cast<SplitOp>(*step.concat->user_begin()) : SplitOp();
  return split ? butterflyOf(split) : std::nullopt;
}

}  // namespace

std::optional<Hadamard> hadamardOf(Operation* op) {
  if (auto cast = llvm::dyn_cast<CastOp>(op)) {
    if (!cast->hasOneUse() || !llvm::isa<SplitOp>(*cast->user_begin())) return std::nullopt;
    op = *cast->user_begin();
  }
  auto step = butterflyOf(op);
  if (!step) return std::nullopt;
  while (const auto earlier = before(*step)) step = earlier;
  auto numbers = step->split.getX().getDefiningOp<CastOp>();
  if (!numbers || !numbers->hasOneUse() || dtypeOf(numbers.getX()) != DType::bf16)
    return std::nullopt;
  const int bits = rowBits(shapeOf(numbers.getResult()));
  if (bits < kLeastBits) return std::nullopt;
  for (int done = 1; done < bits; ++done) {
    step = after(*step);
    if (!step) return std::nullopt;
  }
  return Hadamard{numbers, step->concat, bits};
}

int hadamardThreadBits(const lang::TileShape& shape) {
  return positionBits(shape) - (rowBits(shape) - 2);
}

Layout hadamardLayout(const lang::TileShape& shape, int threadBits) {
  Layout layout;
  layout.threads = {kFirstLane, kFirstLane + 1};
  int bit = rowBits(shape);
  while (static_cast<int>(layout.threads.size()) < threadBits)
    layout.threads.push_back(
        static_cast<int8_t>(bit < positionBits(shape) ? bit++ : Layout::kCopies));
  for (int own = 0; own < positionBits(shape); ++own)
    if (layout.threadBitOf(own) < 0) layout.registers.push_back(static_cast<int8_t>(own));
  return layout;
}

/// Whether an operation of a transform was lowered, or will be with its last.
bool KernelLowering::lowerHadamard(Operation* op) {
  const auto found = hadamardOf(op);
  if (!found || op == found->numbers) return false;
  Hadamard transform = *found;
  const Value numbers = transform.numbers.getX();
  auto load = numbers.getDefiningOp<LoadOp>();
  if (!load || !layouts_.isTransformed(load)) return false;
  if (op != transform.last) return true;
  const Layout layout = *layouts_.of(numbers);

  // Bits 0 (a pair), 3 and 4 (lanes) and 1 are the product's K and its columns, bit 2 and the lanes
  // of other rows its rows. A sign is the parity of the bits that row and column of the matrix
  // share.
  const Value column = e_.andi(e_.shr(thread_, 2), 7), row = e_.andi(thread_, 3);
  const auto negative = [&](Value bit) {
    return e_.compare(mlir::arith::CmpIPredicate::ne, bit, e_.i32(0));
  };
  const Value shared = e_.andi(row, e_.shr(column, 1));
  const Value parity = e_.xori(e_.andi(shared, 1), e_.shr(shared, 1));
  const Value both = e_.select(negative(parity), e_.i32(kOnes ^ kSigns), e_.i32(kOnes));
  const Value matrix = e_.xori(both, e_.shl(e_.andi(column, 1), 31));
  const Value opposite = e_.xori(matrix, kSigns);

  const Registers from = get(numbers, layout);
  SmallVector<Value> sums(from.values.size());
  const SmallVector<Value> zeros(kMmaSums, e_.f32(0));
  for (size_t r = 0; r < sums.size(); r += 8) {
    const auto pair = [&](size_t i) {
      return pairOf(e_, from.values[r + i], from.values[r + i + 1]);
    };
    const SmallVector<Value> rows = {pair(0), pair(4), pair(2), pair(6)};
    const auto even = multiplyAdd(e_, PairType::kBf16, rows, {matrix, matrix}, zeros);
    const auto odd = multiplyAdd(e_, PairType::kBf16, rows, {matrix, opposite}, zeros);
    const Value parts[] = {even[0], even[1], odd[0], odd[1], even[2], even[3], odd[2], odd[3]};
    std::copy(std::begin(parts), std::end(parts), sums.begin() + static_cast<int64_t>(r));
  }
  for (auto [i, bit] : llvm::enumerate(layout.registers)) {
    if (bit < 2 || bit >= transform.bits) continue;
    const size_t stride = size_t{1} << i;
    for (size_t r = 0; r < sums.size(); ++r) {
      if ((r & stride) != 0) continue;
      const Value a = sums[r], b = sums[r + stride];
      sums[r] = e_.add(a, b);
      sums[r + stride] = e_.sub(a, b);
    }
  }
  set(transform.last.getResult(), {layout, std::move(sums)});
  return true;
}

}  // namespace tessera::compiler::simt
