// SPDX-License-Identifier: Apache-2.0
// Matrix loops of one row of activations. As with a few rows (matrix_rows.cc) a thread decodes the
// 16 bytes of weights it read, and mma.sync multiplies 16 rows of them. One row leaves seven of the
// instruction's eight columns unused: column 2 t has the activations of lane t of a quad, and zeros
// where the other three lanes have theirs. So every thread ends with the sum of what it read
// itself, and multiplies that by the scale of its own block, instead of scaling each weight. What
// is left is decoding: e4m3 and e2m1 become f16, in which both are exact.
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/half_pairs.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/mma_sync.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using mlir::arith::CmpIPredicate;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kGroup = 8;  // rows of b that a warp reads at once
constexpr int64_t kStepsAhead = 8;

DType operandType(Operation* operand) { return tile::dtypeOf(operand->getResult(0)); }

bool usesHalf(const Emitter& e, const MatrixLoop& loop) {
  return hasPairsOfHalf(e.target) && operandType(loop.a) == DType::f8e4m3 &&
         operandType(loop.b) != DType::bf16;
}

}  // namespace

/// The scales of b or of a that a thread's sums need: words of codes, and where each sum has its
/// own.
struct KernelLowering::SumScales {
  Operation* scale = nullptr;  // null: none
  lang::TileShape matrix;
  Layout operand;  // of the matrix
  Layout layout;   // of the codes
  Value lane;      // selects the lane's own byte of a word; null: it is the same for all
  SmallVector<Value> words;
};

KernelLowering::SumScales KernelLowering::sumScales(Operation* operand, Operation* scale,
                                                    const Layout& layout, int64_t access) {
  SumScales scales;
  if (!scale) return scales;
  scales.scale = scale;
  scales.matrix = shapeOf(operand->getResult(0));
  scales.operand = layout;
  const lang::TileShape shape = shapeOf(scale->getResult(0));
  scales.layout = layout.renamed(Grouped{scales.matrix, shape});
  // Four lanes have four blocks side by side: each reads the codes of all.
  if (scales.matrix[1] / shape[1] == access) {
    for (int8_t& bit : llvm::MutableArrayRef(scales.layout.threads).take_front(2))
      bit = Layout::kCopies;
    scales.layout = scales.layout.withRegister(0).withRegister(1);
    scales.lane = e_.ori(e_.shl(e_.andi(thread_, 3), 12), e_.i32(0x0444));
  }
  scales.words = loadWords(scale, scales.layout);
  return scales;
}

/// The scale of the elements from `number` on, f32: 2^(code - 127). 255 becomes infinity.
Value KernelLowering::scaleOfSum(const SumScales& scales, int64_t number) {
  const Grouped grouped{scales.matrix, shapeOf(scales.scale->getResult(0))};
  const int64_t code =
      scales.layout.registerOf(grouped.position(scales.operand.registerOffset(number)));
  const Value word = scales.words[code / 4];
  const Value top = scales.lane
                        ? e_.intrinsic("llvm.nvvm.prmt", e_.i32(), {word, e_.i32(0), scales.lane})
                        : e_.intrinsic("llvm.nvvm.prmt", e_.i32(),
                                       {word, e_.i32(0), e_.i32((code % 4) << 12 | 0x0444)});
  const Value bits = arith::MaxUIOp::create(e_.builder, e_.loc, e_.shr(top, 1), e_.i32(0x400000));
  return e_.bitcast(bits, e_.f32());
}

/// Elements of consecutive words as operands of an instruction for bf16 or f16.
SmallVector<Value> KernelLowering::pairsForRow(const MatrixLoop& loop, Operation* operand,
                                               mlir::ValueRange words) {
  SmallVector<Value> pairs;
  if (!usesHalf(e_, loop)) {
    for (Value word : words) llvm::append_range(pairs, bf16Pairs(e_, operandType(operand), word));
    return pairs;
  }
  if (operandType(operand) == DType::f4e2m1) {
    for (Value word : words) llvm::append_range(pairs, halfPairsOfE2m1(e_, word));
  } else if (operandType(loop.b) == DType::f4e2m1) {
    for (size_t i = 0; i < words.size(); i += 2)
      llvm::append_range(pairs, halfPairsInOrderOfE2m1(e_, words[i], words[i + 1]));
  } else {
    for (Value word : words) llvm::append_range(pairs, halfPairsOfE4m3(e_, word));
  }
  return pairs;
}

/// The sums of this thread: of each product those of rows g, g + 8, .. of b, over what it read of
/// them. The instruction's 16 rows are eight of one product and eight of the next where those are
/// all.
SmallVector<Value> KernelLowering::sumsOfRow(const MatrixLoop& loop, const RowsPlan& plan) {
  const bool half = usesHalf(e_, loop);
  const int64_t access = plan.accessOf(operandType(loop.b)), groups = loop.n / kGroup;
  const auto products = loop.products();
  const auto all = static_cast<int64_t>(products.size()) * groups;  // that a thread reads of
  return sumsOfTurns(loop.loop, all, [&](mlir::ValueRange before) {
    const auto column = [&] { return e_.andi(e_.shr(thread_, 2), 7); };
    const auto own = [&] { return e_.shl(e_.andi(thread_, 3), 1); };
    const auto hasColumn = [&] { return e_.compare(CmpIPredicate::eq, column(), own()); };
    const int64_t steps = plan.b.registerCount() / access / groups;
    // Wide accesses are under way for several steps before the first one is needed. Narrow ones are
    // too many for that.
    const bool wide =
        llvm::all_of(products, [&](const auto& product) { return isWide(product.b, plan.b); });
    const int64_t batch = wide ? std::min(steps, kStepsAhead) : 1;
    SmallVector<SumScales> bScales;
    for (const auto& product : products)
      bScales.push_back(sumScales(product.b, product.bScale, plan.b, access));
    const SumScales aScales = sumScales(loop.a, loop.aScale, plan.a, access);
    // Of a batch, and of b for each product and group of rows.
    SmallVector<SmallVector<Value>> bWords(static_cast<size_t>(all));
    SmallVector<Value> aWords;
    const auto readBatch = [&](int64_t step) {
      if (batch == 1) thread_ = memory_.opaque(e_.loc, thread_);
      for (int64_t row = 0; row < all; ++row)
        bWords[row] = loadWords(products[static_cast<size_t>(row / groups)].b, plan.b,
                                {(row % groups * steps + step) * access, batch * access, {}});
      aWords = loadWords(loop.a, plan.a, {step * access, batch * access, hasColumn()});
    };
    const auto wordsOf = [&](const SmallVector<Value>& words, int64_t step) {
      const size_t each = words.size() / static_cast<size_t>(batch);
      return llvm::ArrayRef(words).slice(static_cast<size_t>(step % batch) * each, each);
    };
    SmallVector<Value> sums(before);
    for (int64_t step = 0; step < steps; ++step) {
      if (step % batch == 0) readBatch(step);
      const SmallVector<Value> x = pairsForRow(loop, loop.a, wordsOf(aWords, step));
      Value aScale;
      if (aScales.scale) aScale = scaleOfSum(aScales, step * access);
      if (half && operandType(loop.b) == DType::f4e2m1) {
        const Value unit = e_.f32(1 / kHalfOfE2m1);
        aScale = aScale ? e_.mul(aScale, unit) : unit;
      }
      for (int64_t row = 0; row < all; row += 2) {
        const auto rows = [&](int64_t which) {
          return pairsForRow(loop, loop.b, wordsOf(bWords[which], step));
        };
        const SmallVector<Value> low = rows(row), high = rows(row + 1);
        SmallVector<Value> ofStep(kMmaSums, e_.f32(0));
        for (size_t i = 0; i < x.size(); i += 2)
          ofStep =
              multiplyAdd(e_, half ? PairType::kF16 : PairType::kBf16,
                          {low[i], high[i], low[i + 1], high[i + 1]}, {x[i], x[i + 1]}, ofStep);
        for (int64_t which = row; which < row + 2; ++which) {
          Value& sum = sums[static_cast<size_t>(which)];
          const Value product = ofStep[static_cast<size_t>(2 * (which - row))];
          const SumScales& scales = bScales[static_cast<size_t>(which / groups)];
          Value scale = aScale;
          if (scales.scale) {
            const Value code = scaleOfSum(scales, (which % groups * steps + step) * access);
            scale = scale ? e_.mul(code, scale) : code;
          }
          sum = scale ? e_.fma(product, scale, sum) : e_.add(product, sum);
        }
      }
    }
    return sums;
  });
}

/// The products' sums: of the lanes of a quad, then of warps.
void KernelLowering::sumOfRow(const MatrixLoop& loop, const RowsPlan& plan, mlir::ValueRange sums) {
  ForOp op = loop.loop;
  const auto products = static_cast<int64_t>(loop.products().size());
  const int64_t each = products * loop.n;  // of a warp
  const Array parts = shared_.allocate(e_.loc, DType::f32, each << plan.warpBits);
  shared_.beforeWrite(e_.loc, parts);
  SmallVector<Value> whole(sums);
  for (Value& sum : whole)
    for (int bit = 0; bit < 2; ++bit) sum = e_.add(sum, exchange(sum, bit));
  const Value row = e_.andi(e_.shr(thread_, 2), 7), warp = e_.shr(thread_, 5);
  const Value first = e_.add(e_.mul(warp, e_.i32(each)), row);
  e_.ifThen(e_.compare(CmpIPredicate::eq, e_.andi(thread_, 3), e_.i32(0)), [&] {
    for (auto [group, sum] : llvm::enumerate(whole))
      memory_.store(e_.loc, sum, parts,
                    e_.add(first, e_.i32(kGroup * static_cast<int64_t>(group))));
  });
  shared_.beforeRead(e_.loc, parts);
  for (int64_t product = 0; product < products; ++product) {
    const Value result = op.getResult(static_cast<unsigned>(product));
    const Layout& layout = *layouts_.of(result);
    const lang::TileShape shape = shapeOf(result);
    Registers total = get(op.getInits()[static_cast<unsigned>(product)], layout);
    const Value element = threadIndex(layout, shape, 1);
    for (auto [r, value] : llvm::enumerate(total.values)) {
      const int64_t number =
          product * loop.n + registerIndex(layout, shape, 1, static_cast<int64_t>(r));
      const Value at = e_.add(element, e_.i32(number));
      for (int64_t w = 0; w < int64_t{1} << plan.warpBits; ++w)
        value = e_.add(value, memory_.load(e_.loc, parts, e_.add(at, e_.i32(w * each))));
    }
    set(result, total);
  }
}

void KernelLowering::lowerMatrixRow(const MatrixLoop& loop) {
  const RowsPlan plan = rowsPlan(loop);
  const auto products = loop.products();
  const SmallVector<mlir::Type> types(products.size() * static_cast<size_t>(loop.n / kGroup),
                                      e_.f32());
  SmallVector<Operation*> loads = {loop.a};
  for (const auto& product : products) {
    loads.push_back(product.b);
    if (product.bScale) loads.push_back(product.bScale);
  }
  const SmallVector<Value> sums =
      alignedVersions(loads, types, [&] { return sumsOfRow(loop, plan); });
  shared_.forget();
  sumOfRow(loop, plan, sums);
}

}  // namespace tessera::compiler::simt
