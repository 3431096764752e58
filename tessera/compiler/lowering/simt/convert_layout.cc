// SPDX-License-Identifier: Apache-2.0
// From one layout to another: by lanes that exchange registers where no element leaves its warp,
// else through the workgroup's memory.
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using llvm::SmallVector;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// More exchanges than this an element cost more than a pass through memory.
constexpr int kMostGathers = 2;

/// Positions are spread over the banks of the memory: those whose numbers differ in few bits lie in
/// different ones. Linear over exclusive or, and a permutation of any power-of-two range.
constexpr int64_t kBanks = 32;
Value swizzle(Emitter& e, Value position) {
  return e.xori(position, e.andi(e.shr(position, 5), kBanks - 1));
}
int64_t swizzle(int64_t position) { return position ^ ((position >> 5) & (kBanks - 1)); }

/// `registers` without those whose bit number `index` is not `set`.
SmallVector<Value> half(llvm::ArrayRef<Value> registers, size_t index, bool set) {
  SmallVector<Value> kept;
  for (size_t r = 0; r < registers.size(); ++r)
    if (((r >> index) & 1) == static_cast<size_t>(set)) kept.push_back(registers[r]);
  return kept;
}

size_t indexOf(const Layout& layout, int bit) {
  return llvm::find(layout.registers, bit) - layout.registers.begin();
}

/// Register number of `layout` with `bit`'s place taken out.
int64_t without(int64_t number, size_t index) {
  const int64_t low = number & ((int64_t{1} << index) - 1);
  return low | (number >> (index + 1) << index);
}

}  // namespace

Value KernelLowering::exchange(Value value, int laneBit) {
  const mlir::Type type = value.getType();
  if (type.isInteger(64)) {
    const Value low = exchange(e_.truncate(value, e_.i32()), laneBit);
    const Value high = exchange(e_.truncate(e_.shr(value, 32), e_.i32()), laneBit);
    return e_.ori(e_.zeroExtend(low, e_.i64()), e_.shl(e_.zeroExtend(high, e_.i64()), 32));
  }
  if (llvm::isa<mlir::FloatType>(type))
    return e_.bitcast(memory_.exchange(e_.loc, e_.bitcast(value, e_.i32()), laneBit), type);
  const Value moved = memory_.exchange(e_.loc, e_.zeroExtend(value, e_.i32()), laneBit);
  return e_.truncate(moved, type);
}

Registers KernelLowering::convertLayout(const Registers& from, DType dtype, const Layout& to) {
  if (from.layout == to) return from;
  if (auto converted = convertPairsByLanes(from, to)) return *converted;
  if (auto converted = convertByLanes(from, to)) return *converted;
  return convertByMemory(from, dtype, to);
}

/// Elements of 16 bits that stay side by side move as pairs, where sums of products do.
std::optional<Registers> KernelLowering::convertPairsByLanes(const Registers& from,
                                                             const Layout& to) {
  if (!holdsSums() || !from.values[0].getType().isInteger(16) || !from.layout.inRegister(0) ||
      !to.inRegister(0))
    return std::nullopt;
  Registers pairs{from.layout.renamed(Closed{0}), {}};
  for (size_t r = 0; r < from.values.size(); r += 2)
    pairs.values.push_back(pairOf(e_, from.values[r], from.values[r + 1]));
  const auto moved = convertByLanes(pairs, to.renamed(Closed{0}));
  if (!moved) return std::nullopt;
  Registers all{to, {}};
  for (Value pair : moved->values) {
    all.values.push_back(e_.truncate(pair, e_.i16()));
    all.values.push_back(e_.truncate(e_.shr(pair, 16), e_.i16()));
  }
  return all;
}

/// Three kinds of steps, as each thread bit wants: a position bit leaves a lane bit (both halves
/// are exchanged, or it changes places with a register bit), then a register bit enters a thread
/// bit (a choice).
std::optional<Registers> KernelLowering::convertByLanes(const Registers& from, const Layout& to) {
  Layout at = from.layout;
  const auto threadBits = static_cast<int>(to.threads.size());
  int gathers = 0;
  for (int t = 0; t < threadBits; ++t) {
    if (at.threads[t] == Layout::kCopies || at.threads[t] == to.threads[t]) continue;
    if (t >= target_.laneBits) return std::nullopt;
    const bool trades = to.threads[t] != Layout::kCopies && at.inRegister(to.threads[t]) &&
                        to.inRegister(at.threads[t]);
    gathers += trades ? 0 : 1;
  }
  if (gathers > kMostGathers) return std::nullopt;

  SmallVector<Value> values = from.values;
  for (int t = 0; t < threadBits; ++t) {
    const int leaving = at.threads[t], entering = to.threads[t];
    if (leaving == Layout::kCopies || leaving == entering) continue;
    const Value upper = threadBit(t);
    const bool trades =
        entering != Layout::kCopies && at.inRegister(entering) && to.inRegister(leaving);
    // The half this thread keeps, and the half its neighbour gave.
    SmallVector<Value> zeros, ones;
    Layout next = at;
    if (trades) {
      const size_t index = indexOf(at, entering);
      const SmallVector<Value> low = half(values, index, false), high = half(values, index, true);
      for (size_t i = 0; i < low.size(); ++i) {
        const Value kept = e_.select(upper, high[i], low[i]);
        const Value given = exchange(e_.select(upper, low[i], high[i]), t);
        zeros.push_back(e_.select(upper, given, kept));
        ones.push_back(e_.select(upper, kept, given));
      }
      next.registers.erase(next.registers.begin() + index);
      next.threads[t] = static_cast<int8_t>(entering);
    } else {
      for (Value value : values) {
        const Value given = exchange(value, t);
        zeros.push_back(e_.select(upper, given, value));
        ones.push_back(e_.select(upper, value, given));
      }
      next.threads[t] = Layout::kCopies;
    }
    next = next.withRegister(leaving);
    const size_t index = indexOf(next, leaving);
    values.clear();
    for (int64_t r = 0; r < next.registerCount(); ++r)
      values.push_back(((r >> index) & 1 ? ones : zeros)[without(r, index)]);
    at = next;
  }
  for (int t = 0; t < threadBits; ++t) {
    const int entering = to.threads[t];
    if (entering == Layout::kCopies || at.threads[t] == entering) continue;
    const size_t index = indexOf(at, entering);
    const SmallVector<Value> low = half(values, index, false), high = half(values, index, true);
    const Value upper = threadBit(t);
    values.clear();
    for (size_t i = 0; i < low.size(); ++i) values.push_back(e_.select(upper, high[i], low[i]));
    at.registers.erase(at.registers.begin() + index);
    at.threads[t] = static_cast<int8_t>(entering);
  }
  return Registers{at, values};
}

Registers KernelLowering::convertByMemory(const Registers& from, DType dtype, const Layout& to) {
  int64_t count = 1;
  for (int bit : from.layout.threads)
    if (bit != Layout::kCopies) count *= 2;
  count *= from.layout.registerCount();
  const int64_t top = shared_.top();
  const Array array = shared_.allocate(e_.loc, dtype, count);
  shared_.beforeWrite(e_.loc, array);
  const Value written = swizzle(e_, threadPosition(from.layout));
  for (auto [r, value] : llvm::enumerate(from.values))
    memory_.store(e_.loc, value, array,
                  e_.xori(written, swizzle(from.layout.registerOffset(static_cast<int64_t>(r)))));
  shared_.beforeRead(e_.loc, array);
  const Value wanted = swizzle(e_, threadPosition(to));
  Registers result{to, {}};
  for (int64_t r = 0; r < to.registerCount(); ++r)
    result.values.push_back(
        memory_.load(e_.loc, array, e_.xori(wanted, swizzle(to.registerOffset(r)))));
  shared_.release(top);
  return result;
}

/// Tiles from outside that a loop's body stretches are brought to the layouts it wants once, not in
/// each turn.
void KernelLowering::convertAhead(ForOp loop) {
  for (mlir::Operation& op : loop.getBody().front())
    if (isElementwise(&op) && !isScalar(op.getResult(0)))
      if (const Layout* layout = layouts_.of(op.getResult(0)))
        for (Value operand : op.getOperands()) convertAhead(loop, operand, *layout);
}

void KernelLowering::convertAhead(ForOp loop, Value tile, const Layout& layout) {
  mlir::Operation* op = tile.getDefiningOp();
  if (op == nullptr || isScalar(tile)) return;
  if (!loop.getBody().isAncestor(op->getParentRegion())) {
    if (layouts_.of(tile) != nullptr && !tiles_[tile].empty()) get(tile, layout);
  } else if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) {
    convertAhead(loop, broadcast.getX(),
                 layout.renamed(Stretched{shapeOf(broadcast.getX()), shapeOf(tile)}));
  }
}

void KernelLowering::write(const Registers& registers, const Array& array) {
  shared_.beforeWrite(e_.loc, array);
  const Value position = threadPosition(registers.layout);
  for (auto [r, value] : llvm::enumerate(registers.values))
    memory_.store(e_.loc, value, array,
                  e_.ori(position, registers.layout.registerOffset(static_cast<int64_t>(r))));
}

Registers KernelLowering::read(const Array& array, const Layout& layout) {
  shared_.beforeRead(e_.loc, array);
  const Value position = threadPosition(layout);
  Registers result{layout, {}};
  for (int64_t r = 0; r < layout.registerCount(); ++r)
    result.values.push_back(
        memory_.load(e_.loc, array, e_.ori(position, layout.registerOffset(r))));
  return result;
}

Array KernelLowering::spill(const Registers& registers, DType dtype, const lang::TileShape& shape) {
  const Array array = shared_.allocate(e_.loc, dtype, shape.numel());
  write(registers, array);
  shared_.beforeRead(e_.loc, array);
  return array;
}

}  // namespace tessera::compiler::simt
