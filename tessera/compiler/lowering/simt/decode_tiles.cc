// SPDX-License-Identifier: Apache-2.0
// Staged tiles made of narrow numbers in memory by exact arithmetic (e4m3 codes times e8m0 scales,
// pieces of rows in bf16): read as words, decoded to pairs of bf16 by integer code and stored to
// workgroup memory, a few elements at a time.
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/scope.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int kPieceBits = 4;              // 16 bytes of codes
constexpr int64_t kPair = 2, kStored = 8;  // elements of a pair and of a store

}  // namespace

/// Evaluates such a tile, register by register.
class KernelLowering::PairDecoder {
 public:
  explicit PairDecoder(KernelLowering& lowering) : l_(lowering), e_(lowering.e_) {}

  /// Registers `number`, which is even, and the next one.
  Value pair(Value tile, const Layout& layout, int64_t number) {
    Operation* op = tile.getDefiningOp();
    if (auto cast = llvm::dyn_cast<CastOp>(op)) return pair(cast.getX(), layout, number);
    if (auto reshape = llvm::dyn_cast<ReshapeOp>(op)) return pair(reshape.getX(), layout, number);
    if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) {
      const auto [source, register_] = unstretched(broadcast, layout, number);
      return pair(broadcast.getX(), source, register_);
    }
    if (auto select = llvm::dyn_cast<SelectOp>(op))
      return e_.select(l_.get(select.getA(), layout).values[number],
                       pair(select.getB(), layout, number), pair(select.getC(), layout, number));
    if (auto mul = llvm::dyn_cast<MulOp>(op))
      return multiplyPairs(e_, pair(mul.getA(), layout, number), scale(mul.getB(), layout, number));
    const DType dtype = dtypeOf(tile);
    const int64_t perWord = 32 / bits(dtype);
    auto& words = read_[op];
    if (words.empty()) words = l_.loadWords(op, layout);
    auto& pairs = pairs_[words[number / perWord]];
    if (pairs.empty()) pairs = bf16Pairs(e_, dtype, words[number / perWord]);
    return pairs[number % perWord / kPair];
  }

 private:
  /// The layout of a broadcast's source, and its register behind one of the result.
  std::pair<Layout, int64_t> unstretched(BroadcastOp broadcast, const Layout& layout,
                                         int64_t number) {
    const Stretched stretched{shapeOf(broadcast.getX()), shapeOf(broadcast.getResult())};
    const Layout source = layout.renamed(stretched);
    int64_t position = 0;
    for (auto [i, bit] : llvm::enumerate(layout.registers))
      if (const int to = stretched(bit); ((number >> i) & 1) && to >= 0)
        position |= int64_t{1} << to;
    return {source, source.registerOf(position)};
  }

  Value scale(Value tile, const Layout& layout, int64_t number) {
    Operation* op = tile.getDefiningOp();
    if (auto cast = llvm::dyn_cast<CastOp>(op)) return scale(cast.getX(), layout, number);
    if (auto reshape = llvm::dyn_cast<ReshapeOp>(op)) return scale(reshape.getX(), layout, number);
    if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) {
      const auto [source, register_] = unstretched(broadcast, layout, number);
      return scale(broadcast.getX(), source, register_);
    }
    auto& factors = read_[op];
    if (factors.empty())
      for (Value code : l_.load(op, layout).values) factors.push_back(scalePair(e_, code));
    return factors[number];
  }

  KernelLowering& l_;
  Emitter& e_;
  llvm::DenseMap<Operation*, SmallVector<Value>> read_;  // words, or factors
  llvm::DenseMap<Value, SmallVector<Value>> pairs_;      // of a word
};

void KernelLowering::stageDecoded(Value tile, const Staged& to) {
  Hopper hopper(e_.builder);
  const lang::TileShape shape = shapeOf(tile);
  const Layout layout = panelLayout(shape, layouts_.threadBits(), kPieceBits);
  const auto put = [&] {
    const Scope scope(*this);
    PairDecoder decoder(*this);
    const Value first = e_.add(to.address, stagedPlace(to.shape, shape, layout));
    for (int64_t r = 0; r < layout.registerCount(); r += kStored) {
      SmallVector<Value> words;
      for (int64_t i = 0; i < kStored; i += kPair)
        words.push_back(decoder.pair(tile, layout, r + i));
      if (r == 0) shared_.beforeWrite(e_.loc, to.array);
      for (int64_t repeat = 0; repeat < to.shape.repeats; ++repeat)
        hopper.storeWords(e_.loc, words, stagedPlace(to.shape, shape, layout, first, r, repeat));
    }
  };
  const Value acts = actsForCopies(layout);
  if (acts) shared_.beforeWrite(e_.loc, to.array);
  acts ? e_.ifThen(acts, put) : put();
  hopper.showToMatrixUnit(e_.loc);
}

}  // namespace tessera::compiler::simt
