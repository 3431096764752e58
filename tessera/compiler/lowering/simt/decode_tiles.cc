// SPDX-License-Identifier: Apache-2.0
// Staged tiles made of narrow numbers in memory by exact arithmetic (e4m3 codes times e8m0 scales,
// pieces of rows in bf16): read as words, decoded to pairs of bf16 by integer code and stored to
// workgroup memory, a few elements at a time.
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/scope.h"
#include "tessera/compiler/lowering/simt/window.h"

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
  SmallVector<Fetched> sources;
  addSources(tile, layout, false, sources);
  if (llvm::any_of(sources, [&](const Fetched& source) { return fetched(source.load) != nullptr; }))
    hopper.waitForCopies(e_.loc, 0);
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
  for (const Fetched& source : sources)
    if (Fetched* own = fetched(source.load)) own->due = true;
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

int64_t KernelLowering::Fetched::words() const {
  return layout.registerCount() * bits(dtypeOf(load->getResult(0))) / 32;
}

/// Those of a loop whose addresses can be computed a turn ahead, where there is memory.
SmallVector<KernelLowering::Fetched> KernelLowering::fetchedAhead(ForOp loop) {
  constexpr int64_t kLeastBytes = 8;  // of a copy
  SmallVector<Fetched> all;
  if (!aligned_) return all;
  mlir::Block& body = loop.getBody().front();
  int64_t words = shared_.top();
  for (Operation& op : body.without_terminator()) {
    if (op.getNumResults() != 1 || !layouts_.products().decoded(op.getResult(0))) continue;
    addSources(op.getResult(0),
               panelLayout(shapeOf(op.getResult(0)), layouts_.threadBits(), kPieceBits), false,
               all);
  }
  for (const Fetched& source : all) {
    const auto known = [&](Value value) { return canBeRemade(value, loop); };
    if (!llvm::all_of(source.load->getOperands(), known)) return {};
    if (source.isScale) continue;
    auto gather = llvm::dyn_cast<GatherOp>(source.load);
    const auto fill = gather ? gather.getFill() : llvm::cast<LoadOp>(source.load).getFill();
    if (fill != 0 || accessBytes(source.load, source.layout) < kLeastBytes) return {};
    words += source.words() * threads();
  }
  return layouts_.products().fits(body, 4 * words, target_) ? all : SmallVector<Fetched>();
}

/// Null: it is not fetched ahead.
KernelLowering::Fetched* KernelLowering::fetched(Operation* load) {
  if (ahead_ == nullptr) return nullptr;
  auto* found = llvm::find_if(ahead_->fetched, [&](const Fetched& f) { return f.load == load; });
  return found == ahead_->fetched.end() ? nullptr : found;
}

/// Where this thread has so many words of a source, from one on that is a multiple of these.
Value KernelLowering::fetchedPlace(const Fetched& source, int64_t word, int64_t words) {
  const Value place = e_.add(e_.mul(thread_, e_.i32(4 * words)), e_.i32(4 * word * threads()));
  return e_.add(memory_.sharedAddress(e_.loc, source.place), place);
}

/// Words, or the codes of scales.
SmallVector<Value> KernelLowering::read(const Fetched& source) {
  if (const Fetched* own = fetched(source.load)) {
    if (source.isScale) return own->values;
    const int64_t each = accessBytes(source.load, source.layout) / 4;
    SmallVector<Value> words;
    for (int64_t word = 0; word < own->words(); word += each)
      llvm::append_range(
          words, Hopper(e_.builder).loadWords(e_.loc, fetchedPlace(*own, word, each), each));
    return words;
  }
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
    if (source.isScale) {
      source.values = load(source.load, source.layout).values;
      return;
    }
    Hopper hopper(e_.builder);
    const int64_t each = accessBytes(source.load, source.layout) / 4;
    int64_t word = 0;
    forEachChunk(source.load, source.layout, [&](const Window&, const Chunk& chunk, int, int64_t) {
      hopper.copyAsync(e_.loc, fetchedPlace(source, word, each), chunk.address, chunk.inside,
                       4 * each);
      word += each;
    });
    hopper.commitCopies(e_.loc);
  });
  readRows(loop, source, e_.add(counter, scalar(loop.getStep())));
}

}  // namespace tessera::compiler::simt
