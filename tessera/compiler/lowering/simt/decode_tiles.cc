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
/// Registers of a thread for what is fetched ahead.
constexpr size_t kMostFetched = 32;

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
    if (words.empty()) words = l_.read({op, layout, false});
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
      for (Value code : l_.read({op, layout, true})) factors.push_back(scalePair(e_, code));
    return factors[number];
  }

  KernelLowering& l_;
  Emitter& e_;
  llvm::DenseMap<Operation*, SmallVector<Value>> read_;  // words, or factors
  llvm::DenseMap<Value, SmallVector<Value>> pairs_;      // of a word
};

void KernelLowering::stageDecoded(Value tile, const Staged& to) {
  finishProducts();
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
  SmallVector<Fetched> sources;
  addSources(tile, layout, false, sources);
  for (const Fetched& source : sources)
    if (Fetched* own = fetched(source.load)) {
      ForOp loop = ahead_->loop;
      fetch(loop, *own,
            e_.add(scalar(loop.getBody().front().getArgument(0)), scalar(loop.getStep())));
    }
}

/// The loads a decoded tile is made of, with the layouts they are read in.
void KernelLowering::addSources(Value tile, const Layout& layout, bool isScale,
                                SmallVector<Fetched>& sources) {
  Operation* op = tile.getDefiningOp();
  if (llvm::isa<CastOp, ReshapeOp>(op)) {
    addSources(op->getOperand(0), layout, isScale, sources);
  } else if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) {
    const Stretched stretched{shapeOf(broadcast.getX()), shapeOf(tile)};
    addSources(broadcast.getX(), layout.renamed(stretched), isScale, sources);
  } else if (auto select = llvm::dyn_cast<SelectOp>(op)) {
    addSources(select.getB(), layout, isScale, sources);
    addSources(select.getC(), layout, isScale, sources);
  } else if (auto mul = llvm::dyn_cast<MulOp>(op)) {
    addSources(mul.getA(), layout, isScale, sources);
    addSources(mul.getB(), layout, true, sources);
  } else {
    sources.push_back({op, layout, isScale});
  }
}

/// Those of a loop whose addresses can be computed a turn ahead, while there are registers and the
/// accesses wide.
SmallVector<KernelLowering::Fetched> KernelLowering::fetchedAhead(ForOp loop) {
  SmallVector<Fetched> all;
  if (!aligned_) return all;
  size_t registers = 0;
  for (Operation& op : loop.getBody().front().without_terminator()) {
    if (op.getNumResults() != 1 || !layouts_.products().decoded(op.getResult(0))) continue;
    SmallVector<Fetched> sources;
    addSources(op.getResult(0),
               panelLayout(shapeOf(op.getResult(0)), layouts_.threadBits(), kPieceBits), false,
               sources);
    for (const Fetched& source : sources) {
      const int64_t count = source.layout.registerCount();
      registers += static_cast<size_t>(
          source.isScale ? count : count * bits(dtypeOf(source.load->getResult(0))) / 32);
      const auto known = [&](Value value) { return canBeRemade(value, loop); };
      if (!llvm::all_of(source.load->getOperands(), known)) return {};
    }
    llvm::append_range(all, sources);
  }
  return registers <= kMostFetched ? all : SmallVector<Fetched>();
}

/// Null: it is not fetched ahead.
KernelLowering::Fetched* KernelLowering::fetched(Operation* load) {
  if (ahead_ == nullptr) return nullptr;
  auto* found = llvm::find_if(ahead_->fetched, [&](const Fetched& f) { return f.load == load; });
  return found == ahead_->fetched.end() ? nullptr : found;
}

/// Words, or the codes of scales.
SmallVector<Value> KernelLowering::read(const Fetched& source) {
  if (const Fetched* own = fetched(source.load)) return own->values;
  return source.isScale ? load(source.load, source.layout).values
                        : loadWords(source.load, source.layout);
}

/// The rows that the turn with this counter gathers.
void KernelLowering::readRows(ForOp loop, Fetched& source, Value counter) {
  auto gather = llvm::dyn_cast<GatherOp>(source.load);
  if (!gather) return;
  inTurn(loop, counter, [&] {
    llvm::DenseSet<Value> remade;
    remakeScalars(gather.getRows(), loop.getBody().front(), remade);
    const Layout layout =
        source.layout.renamed(Closed{0, bitCount(shapeOf(gather.getResult()), 1)});
    source.rows = get(gather.getRows(), layout).values;
  });
}

/// Reads what the turn with this counter decodes, and the rows of the turn behind it.
void KernelLowering::fetch(ForOp loop, Fetched& source, Value counter) {
  inTurn(loop, counter, [&] {
    llvm::DenseSet<Value> remade;
    for (Value operand : source.load->getOperands())
      if (isScalar(operand)) remakeScalars(operand, loop.getBody().front(), remade);
    if (auto gather = llvm::dyn_cast<GatherOp>(source.load))
      tiles_[gather.getRows()] = {
          {source.layout.renamed(Closed{0, bitCount(shapeOf(gather.getResult()), 1)}),
           source.rows}};
    source.values = source.isScale ? load(source.load, source.layout).values
                                   : loadWords(source.load, source.layout);
  });
  readRows(loop, source, e_.add(counter, scalar(loop.getStep())));
}

}  // namespace tessera::compiler::simt
