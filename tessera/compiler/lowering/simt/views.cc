// SPDX-License-Identifier: Apache-2.0
// Reading and writing elements of views: up to 16 bytes at a time where the elements of a thread
// are consecutive and everything is a multiple of their number.
#include <functional>

#include "llvm/Support/MathExtras.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/lanes/memory_format.h"
#include "tessera/compiler/lowering/simt/divisibility.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/window.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using lang::TileShape;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

int bitsInMemory(DType dtype) { return dtype == DType::i1 ? 8 : static_cast<int>(bits(dtype)); }

/// The same unit for all elements of a chunk.
Value fillUnit(Emitter& e, mlir::Type unit, int elementBits, uint64_t fill) {
  uint64_t pattern = 0;
  const auto width = static_cast<int>(unit.getIntOrFloatBitWidth());
  const uint64_t mask = elementBits == 64 ? ~uint64_t{0} : (uint64_t{1} << elementBits) - 1;
  for (int at = 0; at < width; at += elementBits) pattern |= (fill & mask) << at;
  return e.integer(unit, static_cast<int64_t>(pattern));
}

}  // namespace

KernelLowering::Window KernelLowering::window(int64_t view_index, mlir::ValueRange offsets,
                                              int64_t overridden, mlir::ValueRange overrides,
                                              const TileShape& shape, int rowDim) {
  const ViewAttr view = kernel_.view(view_index);
  Window w;
  w.view = view_index;
  w.dtype = *tile::dtypeOf(view.getType());
  w.shape = shape;
  w.rowDim = rowDim;
  const int rank = static_cast<int>(offsets.size()), lead = rank - shape.rank();
  const auto extentOf = [&](int d) {
    return memory_.slot(e_.loc, view.getSlot() + 1 + static_cast<uint32_t>(d));
  };
  Value first = e_.i64(0);
  size_t next = 0;
  for (int d = 0; d < rank; ++d) {
    const Value offset = scalar(offsets[d]);
    const Value extent = (overridden >> d) & 1 ? scalar(overrides[next++]) : extentOf(d);
    const Value stride =
        d + 1 < rank ? memory_.slot(e_.loc, view.getSlot() + 1 + static_cast<uint32_t>(rank + d))
                     : e_.i64(1);
    if (d >= lead) w.strides.push_back(stride);
    if (d - lead == rowDim && rowDim >= 0) {
      w.rowOffset = offset;
      w.rowExtent = extent;
      w.low.push_back({});
      w.span.push_back({});
      continue;
    }
    first = e_.add(first, e_.mul(offset, stride));
    if (d < lead) {
      // Unsigned: a negative position is out of bounds, too.
      const Value inside = e_.compare(arith::CmpIPredicate::ult, offset, extent);
      w.inside = w.inside ? e_.andi(w.inside, inside) : inside;
      continue;
    }
    const Value count = e_.i64(shape[d - lead]), zero = e_.i64(0);
    const auto clamped = [&](Value x) { return e_.minSigned(e_.maxSigned(x, zero), count); };
    const Value high = e_.truncate(clamped(e_.sub(extent, offset)), e_.i32());
    if (isNotNegative(offsets[d])) {
      w.low.push_back({});
      w.span.push_back(high);
    } else {
      const Value low = e_.truncate(clamped(e_.sub(zero, offset)), e_.i32());
      w.low.push_back(low);
      w.span.push_back(e_.maxSigned(e_.sub(high, low), e_.i32(0)));
    }
  }
  const int bits = bitsInMemory(w.dtype);
  const Value bytes = bits == 4 ? e_.sar(first, 1) : e_.shl(first, llvm::Log2_64(bits / 8));
  w.base = e_.add(memory_.slot(e_.loc, view.getSlot()), bytes);
  return w;
}

/// The chunk that starts at register `number`; `row` (i64) where the window has rows.
KernelLowering::Chunk KernelLowering::locate(const Window& w, const Layout& layout, int64_t number,
                                             Value row) {
  Chunk chunk;
  chunk.inside = w.inside;
  const auto require = [&](Value condition) {
    chunk.inside = chunk.inside ? e_.andi(chunk.inside, condition) : condition;
  };
  Value offset;  // i64, elements from the window's base
  // Constants stay apart: what the thread's number gives is computed once for all chunks, and they
  // end in the instructions.
  int64_t more = 0;
  const auto add = [&](Value part) { offset = offset ? e_.add(offset, part) : part; };
  for (int d = 0; d < w.shape.rank(); ++d) {
    if (d == w.rowDim) {
      const Value position = e_.add(w.rowOffset, row);
      require(e_.andi(e_.compare(arith::CmpIPredicate::ult, position, w.rowExtent),
                      e_.compare(arith::CmpIPredicate::sge, row, e_.i64(0))));
      add(e_.mul(position, w.strides[d]));
      continue;
    }
    const Value own = threadIndex(layout, w.shape, d), wide = e_.zeroExtend(own, e_.i64());
    const int64_t next = registerIndex(layout, w.shape, d, number);
    const Value index = next != 0 ? e_.add(own, e_.i32(next)) : own;
    const Value above = w.low[d] ? e_.sub(index, w.low[d]) : index;
    require(e_.compare(arith::CmpIPredicate::ult, above, w.span[d]));
    if (d + 1 == w.shape.rank()) {
      add(wide);
      more = next;
    } else {
      add(e_.mul(wide, w.strides[d]));
      if (next != 0) add(e_.mul(e_.i64(next), w.strides[d]));
    }
  }
  const int bits = bitsInMemory(w.dtype);
  if (bits == 4 && more % 2 != 0) add(e_.i64(std::exchange(more, 0)));
  if (!offset) offset = e_.i64(0);
  if (bits == 4) {
    chunk.odd = e_.compare(arith::CmpIPredicate::ne, e_.andi(offset, 1), e_.i64(0));
    offset = e_.sar(offset, 1);
  } else {
    offset = e_.shl(offset, llvm::Log2_64(bits / 8));
  }
  chunk.address = e_.add(e_.add(w.base, offset), e_.i64(more * bits / 8));
  return chunk;
}

/// Whether strides of a view need no promise: rows of this tile are worth a test of the numbers.
bool KernelLowering::testsStrides(DType dtype, const TileShape& shape) const {
  return target_.choosesByStrides && shape.rank() > 0 &&
         shape[shape.rank() - 1] * bitsInMemory(dtype) >= 8 * target_.widestBytes;
}

/// log2 of the elements of a chunk.
int KernelLowering::vectorBits(int64_t view_index, mlir::ValueRange offsets, int64_t overridden,
                               mlir::ValueRange overrides, const TileShape& shape,
                               const Layout& layout, bool gathered) {
  const ViewAttr view = kernel_.view(view_index);
  const DType dtype = *tile::dtypeOf(view.getType());
  const int least = dtype == DType::f4e2m1 ? 1 : 0, rank = static_cast<int>(offsets.size());
  const bool rowsOfElements = gathered && shape.rank() == 1;
  if (shape.rank() == 0 || rowsOfElements) return 0;
  const int inRow = std::min(layout.consecutive(), bitCount(shape, shape.rank() - 1));
  if (!aligned_) return std::min(least, inRow);
  int64_t divisor = std::max<int64_t>(1, target_.widestBytes * 8 / bitsInMemory(dtype));
  const auto keep = [&](int64_t other) { divisor = std::min(divisor, other); };
  const auto promised = [&](llvm::ArrayRef<int64_t> divisors, int d) -> int64_t {
    if (d >= static_cast<int>(divisors.size())) return 1;
    return std::max<int64_t>(1, divisors[d]);
  };
  // Leading indices move the whole tile.
  const int lead = leadingAligned_ > 0 ? rank - static_cast<int>(shape.rank()) : 0;
  if (lead > 0) keep(std::max<int64_t>(1, 8 * leadingAligned_ / bitsInMemory(dtype)));
  const bool tested = testsStrides(dtype, shape);
  for (int d = lead; d + 1 < rank && !tested; ++d) keep(promised(view.getStrides(), d));
  keep(divisorOf(kernel_, offsets[rank - 1]));
  if ((overridden >> (rank - 1)) & 1)
    keep(divisorOf(kernel_, overrides[overrides.size() - 1]));
  else
    keep(promised(view.getExtents(), rank - 1));
  return std::max(std::min(least, inRow),
                  std::min(inRow, static_cast<int>(llvm::Log2_64(divisor))));
}

/// Of each access to a loaded or gathered tile in this layout.
int64_t KernelLowering::accessBytes(Operation* op, const Layout& layout) {
  const auto bytes = [&](auto access, bool gathered) {
    const int vector =
        vectorBits(access.getView(), access.getOffsets(), access.getOverridden(),
                   access.getOverrides(), shapeOf(access.getResult()), layout, gathered);
    return (int64_t{bitsInMemory(dtypeOf(access.getResult()))} << vector) / 8;
  };
  if (auto gather = llvm::dyn_cast<GatherOp>(op)) return bytes(gather, true);
  return bytes(llvm::cast<LoadOp>(op), false);
}

/// 2^vector elements as they lie in memory: in units of 32 bits, or one of all they have.
SmallVector<Value> KernelLowering::readUnits(const Window& w, const Chunk& chunk, int vector,
                                             int64_t fill) {
  const int elementBits = bitsInMemory(w.dtype);
  const auto total = std::max(8, elementBits << vector);
  const int unitBits = std::min(total, 32);
  const mlir::Type unit = e_.builder.getIntegerType(static_cast<unsigned>(unitBits));
  const auto caching =
      kernel_.view(w.view).getAccess() == Access::read ? Caching::kReadOnly : Caching::kNormal;
  const uint64_t fill_bits = memoryPattern(w.dtype, fill);
  // The two halves of an i64 differ: those are filled afterwards.
  const Value pattern = fillUnit(e_, unit, std::min(elementBits, 32), fill_bits);
  return memory_.loadGlobal(e_.loc, unit, total / unitBits, chunk.address, chunk.inside, pattern,
                            caching);
}

/// 2^vector elements as register values.
SmallVector<Value> KernelLowering::readChunk(const Window& w, const Chunk& chunk, int vector,
                                             int64_t fill) {
  const SmallVector<Value> units = readUnits(w, chunk, vector, fill);
  if (bitsInMemory(w.dtype) == 64) {
    SmallVector<Value> values;
    for (size_t i = 0; i < units.size(); i += 2) {
      const Value high = e_.shl(e_.zeroExtend(units[i + 1], e_.i64()), 32);
      Value value = e_.ori(e_.zeroExtend(units[i], e_.i64()), high);
      if (chunk.inside) value = e_.select(chunk.inside, value, e_.i64(fill));
      values.push_back(value);
    }
    return values;
  }
  return unpacked(w.dtype, units, 1 << vector, chunk.odd);
}

/// The elements of units as register values; of a single element of 4 bits `odd` says which of the
/// byte's it is.
SmallVector<Value> KernelLowering::unpacked(DType dtype, mlir::ValueRange units, int count,
                                            Value odd) {
  const int elementBits = bitsInMemory(dtype);
  const mlir::Type type = registerType(e_.builder.getContext(), dtype);
  SmallVector<Value> values;
  const int unitBits = static_cast<int>(units[0].getType().getIntOrFloatBitWidth());
  const int perUnit = std::max(1, unitBits / elementBits);
  for (int i = 0; i < count; ++i) {
    Value bits = units[static_cast<size_t>(i / perUnit)];
    if (elementBits == 4 && count == 1) {
      bits = e_.andi(e_.select(odd, e_.shr(bits, 4), bits), 15);
    } else {
      bits = e_.shr(bits, static_cast<int64_t>(i % perUnit) * elementBits);
      if (elementBits == 4) bits = e_.andi(bits, 15);
    }
    if (dtype == DType::i1)
      values.push_back(
          e_.compare(arith::CmpIPredicate::ne, e_.truncate(bits, e_.i8()), e_.integer(e_.i8(), 0)));
    else if (llvm::isa<mlir::FloatType>(type))
      values.push_back(e_.bitcast(bits, type));
    else
      values.push_back(e_.truncate(bits, type));
  }
  return values;
}

/// Consecutive elements as they lie in memory: in units of 32 bits, or one of all they have.
SmallVector<Value> KernelLowering::packed(DType dtype, mlir::ValueRange values) {
  const int elementBits = bitsInMemory(dtype);
  const int total = elementBits * static_cast<int>(values.size()), unitBits = std::min(total, 32);
  const mlir::Type unit = e_.builder.getIntegerType(static_cast<unsigned>(unitBits));
  SmallVector<Value> units;
  const auto toBits = [&](Value value) {
    if (llvm::isa<mlir::FloatType>(value.getType())) return e_.bitcast(value, e_.i32());
    return e_.zeroExtend(value, unit);
  };
  if (elementBits == 64) {
    for (Value value : values) {
      units.push_back(e_.truncate(value, e_.i32()));
      units.push_back(e_.truncate(e_.shr(value, 32), e_.i32()));
    }
    return units;
  }
  const auto perUnit = static_cast<size_t>(unitBits / elementBits);
  for (size_t i = 0; i < values.size(); i += perUnit) {
    Value word;
    for (size_t j = 0; j < perUnit; ++j) {
      const Value part = e_.shl(toBits(values[i + j]), static_cast<int64_t>(j) * elementBits);
      word = word ? e_.ori(word, part) : part;
    }
    units.push_back(word);
  }
  return units;
}

void KernelLowering::writeChunk(const Window& w, const Chunk& chunk, mlir::ValueRange values,
                                Value wanted) {
  const SmallVector<Value> units = packed(w.dtype, values);
  Value inside = chunk.inside;
  if (wanted) inside = inside ? e_.andi(inside, wanted) : wanted;
  const auto caching = kernel_.view(w.view).getStreamed() ? Caching::kStreamed : Caching::kNormal;
  memory_.storeGlobal(e_.loc, units, chunk.address, inside, caching);
}

/// The pieces of a loaded or gathered tile that one access each brings, in the order of the
/// registers [first, last).
void KernelLowering::forEachChunk(Operation* op, const Layout& layout, int64_t first, int64_t last,
                                  ReadChunk read) {
  const TileShape shape = shapeOf(op->getResult(0));
  const auto visit = [&](auto access, const Registers* rows, int rowDim) {
    const Window w = window(access.getView(), access.getOffsets(), access.getOverridden(),
                            access.getOverrides(), shape, rowDim);
    const int vector = vectorBits(access.getView(), access.getOffsets(), access.getOverridden(),
                                  access.getOverrides(), shape, layout, rows != nullptr);
    for (int64_t r = first; r < last; r += int64_t{1} << vector) {
      Value row;
      if (rows != nullptr) {
        const int64_t index = registerIndex(layout, shape, 0, r);
        row = e_.signExtend(rows->values[rows->layout.registerOf(index)], e_.i64());
      }
      read(w, locate(w, layout, r, row), vector, access.getFill());
    }
  };
  if (auto gather = llvm::dyn_cast<GatherOp>(op)) {
    const Layout rowLayout =
        shape.rank() == 1 ? layout : layout.renamed(Closed{0, bitCount(shape, 1)});
    const Registers rows = get(gather.getRows(), rowLayout);
    visit(gather, &rows, 0);
  } else {
    visit(llvm::cast<LoadOp>(op), nullptr, -1);
  }
}

Registers KernelLowering::load(Operation* op, const Layout& layout) {
  Registers result{layout, {}};
  forEachChunk(op, layout, [&](const Window& w, const Chunk& chunk, int vector, int64_t fill) {
    llvm::append_range(result.values, readChunk(w, chunk, vector, fill));
  });
  return result;
}

/// The same as they lie in memory, in words of 32 bits, each as soon as it is whole; the fill in
/// threads that want nothing.
void KernelLowering::forEachWord(Operation* op, const Layout& layout, Part part,
                                 llvm::function_ref<void(Value)> take) {
  Value word;
  int filled = 0;  // bits
  const int64_t last = part.first + std::min(part.count, layout.registerCount() - part.first);
  const auto read = [&](const Window& w, Chunk chunk, int vector, int64_t fill) {
    if (part.wanted) chunk.inside = chunk.inside ? e_.andi(chunk.inside, part.wanted) : part.wanted;
    for (Value unit : readUnits(w, chunk, vector, fill)) {
      const auto width = static_cast<int>(unit.getType().getIntOrFloatBitWidth());
      const Value wide = width < 32 ? e_.zeroExtend(unit, e_.i32()) : unit;
      word = filled == 0 ? wide : e_.ori(word, e_.shl(wide, filled));
      filled = (filled + width) % 32;
      if (filled == 0) take(word);
    }
  };
  forEachChunk(op, layout, part.first, last, read);
  if (filled != 0) take(word);
}

SmallVector<Value> KernelLowering::loadWords(Operation* op, const Layout& layout, Part part) {
  SmallVector<Value> words;
  forEachWord(op, layout, part, [&](Value word) { words.push_back(word); });
  return words;
}

/// Whether other threads may have to see the store, or must have read before it: not where every
/// access of the view is to the same elements, held by the same threads.
bool KernelLowering::needsOrder(StoreOp store) {
  if (kernel_.view(store.getView()).getAccess() != Access::readwrite) return false;
  const Layout layout = layouts_.ownOrBlocked(store.getTile());
  bool differs = false;
  kernel_->walk([&](Operation* op) {
    const auto access = memoryAccess(op);
    if (!access || access->first != static_cast<int64_t>(store.getView()) || op == store) return;
    auto load = llvm::dyn_cast<LoadOp>(op);
    differs |= !load || load.getResult().getType() != store.getTile().getType() ||
               load.getOffsets() != store.getOffsets() ||
               layouts_.ownOrBlocked(load.getResult()) != layout;
  });
  return differs;
}

/// Whether 16 bytes a thread are worth a conversion: not where the tile's own layout is nearly as
/// good, or the workgroup's memory too small.
bool KernelLowering::wantsOtherLayout(StoreOp store, const Layout& layout) {
  const TileShape shape = shapeOf(store.getTile());
  const auto width = [&](const Layout& l) {
    return bitsInMemory(dtypeOf(store.getTile()))
           << vectorBits(store.getView(), store.getOffsets(), store.getOverridden(),
                         store.getOverrides(), shape, l, false);
  };
  return layout.registerCount() > 1 && width(layout) < 64 &&
         width(layouts_.blocked(store.getTile())) == 8 * target_.widestBytes &&
         4 * (shared_.top() + shape.numel()) <= target_.sharedBytes;
}

/// The layout of a sum of products with 16 bytes in a row for each thread, by exchanges between
/// lanes: beside a pipeline there is no room for the tile in workgroup memory.
Layout KernelLowering::widened(Value tile, const Layout& layout) {
  const TileShape shape = shapeOf(tile);
  if (!holdsSums() || !aligned_ || shape.rank() == 0) return layout;
  const auto elements = 8 * target_.widestBytes / bitsInMemory(dtypeOf(tile));
  return layout.withLowest(
      std::min(static_cast<int>(llvm::Log2_64(elements)), bitCount(shape, shape.rank() - 1)),
      target_.laneBits);
}

void KernelLowering::lowerStore(StoreOp store) {
  const bool ordered = needsOrder(store);
  const TileShape shape = shapeOf(store.getTile());
  const DType dtype = dtypeOf(store.getTile());
  Layout layout = layouts_.ownOrBlocked(store.getTile());
  if (shape.rank() == 0) layout = blockedLayout(shape, layouts_.threadBits(), 0);
  // Both codes of a byte belong to one thread.
  if (dtype == DType::f4e2m1 && layout.consecutive() == 0)
    layout = layouts_.blocked(store.getTile());
  const Layout byLanes = dtype == DType::f4e2m1 ? layout : widened(store.getTile(), layout);
  layout = wantsOtherLayout(store, byLanes) ? layouts_.blocked(store.getTile()) : byLanes;
  const Registers tile = get(store.getTile(), layout);
  const Registers mask = store.getMask() ? get(store.getMask(), layout) : Registers();
  if (ordered) shared_.barrier(e_.loc);
  const Window w = window(store.getView(), store.getOffsets(), store.getOverridden(),
                          store.getOverrides(), shape, -1);
  int vector = vectorBits(store.getView(), store.getOffsets(), store.getOverridden(),
                          store.getOverrides(), shape, layout, false);
  if (store.getMask() && dtype != DType::f4e2m1) vector = 0;
  const Value acts = actsForCopies(layout);
  for (int64_t r = 0; r < layout.registerCount(); r += int64_t{1} << vector) {
    Value wanted = acts;
    if (store.getMask()) wanted = wanted ? e_.andi(wanted, mask.values[r]) : mask.values[r];
    writeChunk(w, locate(w, layout, r, {}),
               mlir::ValueRange(llvm::ArrayRef(tile.values).slice(r, int64_t{1} << vector)),
               wanted);
  }
  if (ordered) shared_.barrier(e_.loc);
}

void KernelLowering::lowerRowUpdate(Operation* op) {
  const auto emit = [&](auto update) {
    const bool atomic = llvm::isa<AtomicAddOp>(op);
    const TileShape shape = shapeOf(update.getTile());
    const bool whole = !atomic && dtypeOf(update.getTile()) != DType::f4e2m1;
    const Layout own = layouts_.ownOrBlocked(update.getTile());
    const Layout layout = whole ? widened(update.getTile(), own) : own;
    const Registers tile = get(update.getTile(), layout);
    const Registers rows =
        get(update.getRows(),
            shape.rank() == 1 ? layout : layout.renamed(Closed{0, bitCount(shape, 1)}));
    const Value acts = actsForCopies(layout);
    const int vector =
        atomic ? 0
               : vectorBits(update.getView(), update.getOffsets(), update.getOverridden(),
                            update.getOverrides(), shape, layout, true);
    shared_.barrier(e_.loc);
    const Window w = window(update.getView(), update.getOffsets(), update.getOverridden(),
                            update.getOverrides(), shape, 0);
    for (int64_t r = 0; r < layout.registerCount(); r += int64_t{1} << vector) {
      const int64_t index = registerIndex(layout, shape, 0, r);
      const Value row = e_.signExtend(rows.values[rows.layout.registerOf(index)], e_.i64());
      const Chunk chunk = locate(w, layout, r, row);
      if (!atomic) {
        writeChunk(w, chunk,
                   mlir::ValueRange(llvm::ArrayRef(tile.values).slice(r, int64_t{1} << vector)),
                   acts);
        continue;
      }
      e_.ifThen(acts ? e_.andi(chunk.inside, acts) : chunk.inside,
                [&] { memory_.atomicAddGlobal(e_.loc, tile.values[r], chunk.address); });
    }
    shared_.barrier(e_.loc);  // later loads of the same view see it
  };
  if (auto scatter = llvm::dyn_cast<ScatterOp>(op))
    emit(scatter);
  else
    emit(llvm::cast<AtomicAddOp>(op));
}

/// What the leading indices of a load add to its view's base, in bytes (i64); null: nothing.
Value KernelLowering::leadingBytes(Operation* op) {
  const auto sum = [&](auto access) -> Value {
    const ViewAttr view = kernel_.view(access.getView());
    const int rank = static_cast<int>(access.getOffsets().size());
    Value elements;
    for (int d = 0; d < rank - static_cast<int>(shapeOf(access.getResult()).rank()); ++d) {
      if (!scalars_.contains(access.getOffsets()[d])) return e_.i64(1);  // it changes in the loop
      const Value stride =
          memory_.slot(e_.loc, view.getSlot() + 1 + static_cast<uint32_t>(rank + d));
      const Value part = e_.mul(scalar(access.getOffsets()[d]), stride);
      elements = elements ? e_.add(elements, part) : part;
    }
    if (!elements) return {};
    const int width = bitsInMemory(dtypeOf(access.getResult()));
    return width == 4 ? e_.sar(elements, 1) : e_.shl(elements, llvm::Log2_64(width / 8));
  };
  if (auto gather = llvm::dyn_cast<GatherOp>(op)) return sum(gather);
  return sum(llvm::cast<LoadOp>(op));
}

/// `emit` once, or where leading indices of the loads decide how wide accesses may be, for each
/// width: matrices of a stack may lie anywhere, but most are aligned.
SmallVector<Value> KernelLowering::alignedVersions(llvm::ArrayRef<Operation*> loads,
                                                   mlir::TypeRange types, Version emit) {
  Value bytes;
  for (Operation* load : loads)
    if (const Value own = leadingBytes(load)) bytes = bytes ? e_.ori(bytes, own) : own;
  if (!bytes || !aligned_) return emit();
  // Vulkan's drivers take long to compile versions.
  const int64_t least = target_.matrix == MatrixUnit::kCooperative ? target_.widestBytes : 8;
  const std::function<SmallVector<Value>(int64_t)> version = [&](int64_t width) {
    leadingAligned_ = width >= least ? width : 0;
    if (width < least) return emit();
    auto either = scf::IfOp::create(
        e_.builder, e_.loc, types,
        e_.compare(arith::CmpIPredicate::eq, e_.andi(bytes, width - 1), e_.i64(0)),
        /*withElseRegion=*/true);
    const auto fill = [&](mlir::Block* block, const std::function<SmallVector<Value>()>& values) {
      mlir::OpBuilder::InsertionGuard guard(e_.builder);
      if (types.empty()) {
        e_.builder.setInsertionPoint(block->getTerminator());
        values();
      } else {
        e_.builder.setInsertionPointToEnd(block);
        scf::YieldOp::create(e_.builder, e_.loc, values());
      }
    };
    const Value thread = thread_;
    const auto apart = [&](const std::function<SmallVector<Value>()>& values) {
      thread_ = memory_.opaque(e_.loc, thread);
      return values();
    };
    fill(either.thenBlock(), [&] { return apart(emit); });
    fill(either.elseBlock(), [&] { return apart([&] { return version(width / 2); }); });
    thread_ = thread;
    return SmallVector<Value>(either.getResults());
  };
  SmallVector<Value> results = version(target_.widestBytes);
  leadingAligned_ = 0;
  return results;
}

/// Whether the views that could be accessed in wide chunks are aligned for them; null: there are
/// none.
Value KernelLowering::basesAligned() {
  if (target_.widestBytes == 1) return {};
  llvm::SmallDenseSet<int64_t> views;
  llvm::SmallDenseSet<uint32_t> strides;  // slots
  aligned_ = true;
  leadingAligned_ = target_.widestBytes;
  const auto visit = [&](auto access, Value tile, bool gathered) {
    if (isScalar(tile)) return;
    const auto wide = [&](const Layout& layout) {
      return vectorBits(access.getView(), access.getOffsets(), access.getOverridden(),
                        access.getOverrides(), shapeOf(tile), layout, gathered) > 0;
    };
    // Stores may convert to the blocked layout; a load without a layout takes its consumers'.
    const Layout* own = layouts_.of(tile);
    const Layout other = own != nullptr
                             ? layouts_.blocked(tile)
                             : blockedLayout(shapeOf(tile), 0, positionBits(shapeOf(tile)));
    if ((own == nullptr || !wide(*own)) && !wide(other)) return;
    views.insert(access.getView());
    if (!testsStrides(dtypeOf(tile), shapeOf(tile))) return;
    const auto rank = static_cast<uint32_t>(access.getOffsets().size());
    for (uint32_t d = 0; d + 1 < rank; ++d)
      strides.insert(kernel_.view(access.getView()).getSlot() + 1 + rank + d);
  };
  kernel_->walk([&](Operation* op) {
    if (auto load = llvm::dyn_cast<LoadOp>(op)) visit(load, load.getResult(), false);
    if (auto gather = llvm::dyn_cast<GatherOp>(op)) visit(gather, gather.getResult(), true);
    if (auto store = llvm::dyn_cast<StoreOp>(op)) visit(store, store.getTile(), false);
    if (auto scatter = llvm::dyn_cast<ScatterOp>(op)) visit(scatter, scatter.getTile(), true);
  });
  if (pipeline_ != nullptr)
    for (const TensorMap& map : pipeline_->maps) views.insert(map.view);
  aligned_ = false;
  leadingAligned_ = 0;
  if (views.empty()) return {};
  SmallVector<int64_t> ordered(views.begin(), views.end());
  llvm::sort(ordered);
  SmallVector<uint32_t> slots(strides.begin(), strides.end());
  for (int64_t view : ordered) slots.push_back(kernel_.view(view).getSlot());
  llvm::sort(slots);
  return memory_.slotsAligned(e_.loc, slots, target_.widestBytes);
}

}  // namespace tessera::compiler::simt
