// SPDX-License-Identifier: Apache-2.0
// Tiles as registers: elementwise arithmetic, and operations that move elements.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/lanes/memory_format.h"
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using lang::TileShape;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// A thread has no table in registers: four levels of selects.
Value lookupEntry(Emitter& e, LookupOp op, Value code) {
  SmallVector<Value> level;
  for (int64_t bits : op.getTable())
    level.push_back(e.floatBits(e.f32(), static_cast<uint32_t>(bits)));
  for (int bit = 0; level.size() > 1; ++bit) {
    const Value set = e.compare(arith::CmpIPredicate::ne, e.andi(code, int64_t{1} << bit),
                                e.integer(code.getType(), 0));
    SmallVector<Value> next;
    for (size_t i = 0; i < level.size(); i += 2)
      next.push_back(e.select(set, level[i + 1], level[i]));
    level = std::move(next);
  }
  return level[0];
}

Value constantOf(Emitter& e, ConstantOp constant) {
  return splatConstant(e, tile::dtypeOf(constant.getResult()),
                       static_cast<int64_t>(constant.getValue()), 1);
}

}  // namespace

Value KernelLowering::scalar(Value value) {
  const auto found = scalars_.find(value);
  TESSERA_CHECK(found != scalars_.end(), "a scalar is used before it is lowered");
  return found->second;
}

void KernelLowering::lowerScalar(Operation* op) {
  const Value result = op->getResult(0);
  const auto value = [&]() -> Value {
    if (auto constant = llvm::dyn_cast<ConstantOp>(op)) return constantOf(e_, constant);
    if (auto id = llvm::dyn_cast<ProgramIdOp>(op)) return programId_[id.getAxis()];
    if (auto number = llvm::dyn_cast<NumProgramsOp>(op)) return gridSize_[number.getAxis()];
    if (auto extent = llvm::dyn_cast<ExtentOp>(op)) {
      const ViewAttr view = kernel_.view(extent.getView());
      return memory_.slot(e_.loc, view.getSlot() + 1 + static_cast<uint32_t>(extent.getDim()));
    }
    if (auto argument = llvm::dyn_cast<ScalarArgOp>(op)) {
      const Value bits = memory_.slot(e_.loc, kernel_.scalar(argument.getIndex()).getSlot());
      const mlir::Type type = registerType(e_.builder.getContext(), dtypeOf(result));
      if (type == e_.i64()) return bits;
      if (llvm::isa<mlir::FloatType>(type)) return e_.bitcast(e_.truncate(bits, e_.i32()), type);
      return e_.truncate(bits, type);
    }
    const Layout one = blockedLayout({}, layouts_.threadBits(), 0);
    if (llvm::isa<LoadOp, GatherOp>(op)) return load(op, one).values[0];
    // A tile of one element becomes a scalar.
    if (auto reshape = llvm::dyn_cast<ReshapeOp>(op)) return get(reshape.getX(), one).values[0];
    return elementwise(op, one).values[0];
  };
  scalars_[result] = value();
}

void KernelLowering::set(Value tile, Registers registers) {
  tiles_[tile].push_back(std::move(registers));
  noted_.push_back(tile);
}

Registers KernelLowering::get(Value tile) { return get(tile, layouts_.ownOrBlocked(tile)); }

Registers KernelLowering::get(Value tile, const Layout& layout) {
  if (isScalar(tile))
    return {layout, SmallVector<Value>(static_cast<size_t>(layout.registerCount()), scalar(tile))};
  const auto& known = tiles_[tile];
  for (const Registers& registers : known)
    if (registers.layout == layout) return registers;
  Registers made = known.empty() ? make(tile, layout)
                                 : convertLayout(Registers(known.front()), dtypeOf(tile), layout);
  set(tile, made);
  return made;
}

Registers KernelLowering::make(Value tile, const Layout& layout) {
  Operation* op = tile.getDefiningOp();
  TESSERA_CHECK(op != nullptr, "a carried tile is used before it is bound");
  const TileShape shape = shapeOf(tile);
  const int64_t count = layout.registerCount();
  Registers made{layout, {}};
  if (auto constant = llvm::dyn_cast<ConstantOp>(op)) {
    made.values.assign(static_cast<size_t>(count), constantOf(e_, constant));
  } else if (auto iota = llvm::dyn_cast<IotaOp>(op)) {
    const auto axis = static_cast<int>(iota.getAxis());
    const Value base = threadIndex(layout, shape, axis);
    for (int64_t r = 0; r < count; ++r)
      made.values.push_back(e_.add(base, e_.i32(registerIndex(layout, shape, axis, r))));
  } else if (auto read = llvm::dyn_cast<LoadOp>(op)) {
    made = load(read, layout);
  } else if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) {
    const Value source = broadcast.getX();
    const Stretched stretched{shapeOf(source), shape};
    const Registers from = get(source, layout.renamed(stretched));
    for (int64_t r = 0; r < count; ++r) {
      int64_t position = 0;
      for (auto [i, bit] : llvm::enumerate(layout.registers))
        if (const int to = stretched(bit); ((r >> i) & 1) && to >= 0) position |= int64_t{1} << to;
      made.values.push_back(from.values[from.layout.registerOf(position)]);
    }
  } else if (auto reshape = llvm::dyn_cast<ReshapeOp>(op)) {
    made.values = get(reshape.getX(), layout).values;
  } else if (auto transpose = llvm::dyn_cast<TransposeOp>(op)) {
    // The inverse permutation leads from the result back to the source.
    SmallVector<int64_t, 3> inverse(transpose.getPermutation().size());
    for (auto [to, from] : llvm::enumerate(transpose.getPermutation()))
      inverse[from] = static_cast<int64_t>(to);
    const Transposed back{shape, inverse};
    const Registers from = get(transpose.getX(), layout.renamed(back));
    for (int64_t r = 0; r < count; ++r) {
      int64_t position = 0;
      for (auto [i, bit] : llvm::enumerate(layout.registers))
        if ((r >> i) & 1) position |= int64_t{1} << back(bit);
      made.values.push_back(from.values[from.layout.registerOf(position)]);
    }
  } else {
    made = elementwise(op, layout);
  }
  return made;
}

/// Numbers that two by two become narrower ones, or were made so and become f32 again; empty where
/// no instruction does that.
SmallVector<Value> KernelLowering::castPairs(CastOp cast, llvm::ArrayRef<Value> numbers) {
  SmallVector<Value> codes;
  if (dtypeOf(cast.getX()) == DType::bf16 && dtypeOf(cast.getResult()) == DType::f32) {
    for (size_t i = 0; i + 1 < numbers.size(); i += 2) {
      const Value pair = pairAround(numbers[i], numbers[i + 1]);
      if (!pair) return {};
      llvm::append_range(codes, widenPair(e_, pair));
    }
    return codes;
  }
  if (dtypeOf(cast.getX()) != DType::f32) return codes;
  for (size_t i = 0; i + 1 < numbers.size(); i += 2) {
    const auto pair = encodePair(e_, dtypeOf(cast.getResult()), numbers[i], numbers[i + 1]);
    if (!pair) break;
    llvm::append_range(codes, *pair);
  }
  return codes;
}

Registers KernelLowering::elementwise(Operation* op, const Layout& layout) {
  if (auto narrow = narrowNumbers(op, layout)) return *narrow;
  SmallVector<Registers> operands;
  for (Value operand : op->getOperands()) operands.push_back(get(operand, layout));
  Registers result{layout, {}};
  if (auto cast = llvm::dyn_cast<CastOp>(op)) result.values = castPairs(cast, operands[0].values);
  if (!result.values.empty()) return result;
  for (int64_t r = 0; r < layout.registerCount(); ++r) {
    SmallVector<Value> values;
    for (const Registers& operand : operands) values.push_back(operand.values[r]);
    auto lookup = llvm::dyn_cast<LookupOp>(op);
    result.values.push_back(lookup ? lookupEntry(e_, lookup, values[0])
                                   : emitElementwise(e_, op, values));
  }
  return result;
}

/// Operations that only move elements, whose layouts follow their operands.
void KernelLowering::lowerShape(Operation* op) {
  const Value result = op->getResult(0);
  const Layout& layout = *layouts_.of(result);
  const int64_t count = layout.registerCount();
  if (auto slice = llvm::dyn_cast<SliceOp>(op)) return lowerSlice(slice);
  if (auto take = llvm::dyn_cast<TakeOp>(op)) return lowerTake(take);
  if (llvm::isa<ReshapeOp, TransposeOp>(op)) return set(result, make(result, layout));
  if (auto split = llvm::dyn_cast<SplitOp>(op)) {
    const Registers from = get(split.getX(), splitSource(layouts_.ownOrBlocked(split.getX())));
    Registers even{layout, {}}, odd{layout, {}};
    for (int64_t r = 0; r < count; ++r) {
      even.values.push_back(from.values[2 * r]);
      odd.values.push_back(from.values[2 * r + 1]);
    }
    set(split.getEven(), even);
    return set(split.getOdd(), odd);
  }
  // concat and join: one more register bit tells their operands apart.
  const Value a = op->getOperand(0), b = op->getOperand(1);
  int at = 0;
  if (auto concat = llvm::dyn_cast<ConcatOp>(op)) {
    const auto axis = static_cast<int>(concat.getAxis());
    at = firstBit(shapeOf(a), axis) + bitCount(shapeOf(a), axis);
  }
  const Layout part = layout.renamed(Closed{at});
  const Registers parts[] = {get(a, part), get(b, part)};
  Registers joined{layout, {}};
  for (int64_t r = 0; r < count; ++r) {
    const int64_t position = layout.registerOffset(r), low = position & ((int64_t{1} << at) - 1);
    const int64_t inPart = low | (position >> (at + 1) << at);
    joined.values.push_back(parts[(position >> at) & 1].values[part.registerOf(inPart)]);
  }
  set(result, joined);
}

void KernelLowering::lowerSlice(SliceOp slice) {
  const TileShape from = shapeOf(slice.getX()), to = shapeOf(slice.getResult());
  const auto axis = static_cast<int>(slice.getAxis());
  const auto start = static_cast<int64_t>(slice.getStart());
  const Layout& layout = *layouts_.of(slice.getResult());
  const Registers source = get(slice.getX());
  Registers result{layout, {}};
  if (slicesRegisters(slice, source.layout)) {
    const int below = firstBit(from, axis), kept = bitCount(to, axis);
    for (int64_t r = 0; r < layout.registerCount(); ++r) {
      const int64_t position = layout.registerOffset(r);
      const int64_t low = position & ((int64_t{1} << (below + kept)) - 1);
      const int64_t high = position >> (below + kept) << (below + bitCount(from, axis));
      result.values.push_back(
          source.values[source.layout.registerOf(low | (start << below) | high)]);
    }
    return set(slice.getResult(), result);
  }
  const Array array = spill(source, dtypeOf(slice.getX()), from);
  for (int64_t r = 0; r < layout.registerCount(); ++r) {
    Value position = e_.i32(0);
    for (int d = 0; d < from.rank(); ++d) {
      const Value index = e_.add(threadIndex(layout, to, d),
                                 e_.i32(registerIndex(layout, to, d, r) + (d == axis ? start : 0)));
      position = e_.add(position, e_.shl(index, firstBit(from, d)));
    }
    result.values.push_back(memory_.load(e_.loc, array, position));
  }
  set(slice.getResult(), result);
}

void KernelLowering::lowerTake(TakeOp take) {
  const TileShape from = shapeOf(take.getA()), to = shapeOf(take.getResult());
  const Layout& layout = *layouts_.of(take.getResult());
  const Registers index = get(take.getB(), layout);
  const Array array = spill(get(take.getA()), dtypeOf(take.getA()), from);
  const int rowBits = bitCount(to, to.rank() - 1);
  Registers result{layout, {}};
  for (int64_t r = 0; r < layout.registerCount(); ++r) {
    const Value at = index.values[r];
    const Value inside = e_.compare(arith::CmpIPredicate::ult, at, e_.i32(from.last()));
    const Value position = e_.ori(threadPosition(layout), layout.registerOffset(r));
    const Value row = e_.shl(e_.shr(position, rowBits), bitCount(from, from.rank() - 1));
    const Value value = memory_.load(e_.loc, array, e_.add(row, e_.select(inside, at, e_.i32(0))));
    result.values.push_back(e_.select(inside, value, e_.constant(value.getType(), 0)));
  }
  set(take.getResult(), result);
}

}  // namespace tessera::compiler::simt
