// SPDX-License-Identifier: Apache-2.0
// Reading and writing elements of views.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// The type an element has in memory.
mlir::Type memoryType(Emitter& e, DType dtype) {
  return dtype == DType::i1 ? e.i8() : registerType(e.builder.getContext(), dtype);
}

}  // namespace

/// The tile covers the trailing dimensions of the view. `row` (i64, may be null) replaces the
/// point's index along the dimension that a gather or scatter picks rows of.
KernelLowering::Element KernelLowering::locate(int64_t view_index, mlir::ValueRange offsets,
                                               int64_t overridden, mlir::ValueRange overrides,
                                               const Point& point, Value row) {
  const ViewAttr view = kernel_.view(view_index);
  const DType dtype = *tile::dtypeOf(view.getType());
  const int rank = static_cast<int>(offsets.size()), covered = static_cast<int>(point.index.size());
  const int row_dim = row ? rank - covered : -1;
  Element element;
  Value offset = e_.i64(0);
  size_t next_override = 0;
  for (int d = 0; d < rank; ++d) {
    Value position = scalar(offsets[d]);
    if (d == row_dim)
      position = e_.add(position, row);
    else if (d >= rank - covered)
      position = e_.add(position, e_.zeroExtend(point.index[d - (rank - covered)], e_.i64()));
    const Value extent = (overridden >> d) & 1 ? scalar(overrides[next_override++])
                                               : memory_.slot(e_.loc, view.getSlot() + 1 + d);
    // Unsigned: a negative position is out of bounds, too.
    Value inside = e_.compare(arith::CmpIPredicate::ult, position, extent);
    if (d == row_dim)
      inside = e_.andi(inside, e_.compare(arith::CmpIPredicate::sge, row, e_.i64(0)));
    element.inside = element.inside ? e_.andi(element.inside, inside) : inside;
    if (d + 1 < rank)
      position = e_.mul(position, memory_.slot(e_.loc, view.getSlot() + 1 + rank + d));
    offset = e_.add(offset, position);
  }
  if (dtype == DType::f4e2m1) {
    element.odd = e_.compare(arith::CmpIPredicate::ne, e_.andi(offset, 1), e_.i64(0));
    offset = e_.shr(offset, 1);
  } else {
    const int64_t bytes = memoryType(e_, dtype).getIntOrFloatBitWidth() / 8;
    offset = e_.mul(offset, e_.i64(bytes));
  }
  element.address = e_.add(memory_.slot(e_.loc, view.getSlot()), offset);
  return element;
}

Value KernelLowering::readElement(int64_t view, const Element& element, int64_t fill) {
  const DType dtype = *tile::dtypeOf(kernel_.view(view).getType());
  const mlir::Type type = registerType(e_.builder.getContext(), dtype);
  auto branch = scf::IfOp::create(e_.builder, e_.loc, mlir::TypeRange{type}, element.inside,
                                  /*withElse=*/true);
  mlir::OpBuilder::InsertionGuard guard(e_.builder);
  e_.builder.setInsertionPointToEnd(branch.thenBlock());
  Value value = memory_.loadGlobal(e_.loc, memoryType(e_, dtype), element.address);
  if (dtype == DType::i1)
    value = e_.compare(arith::CmpIPredicate::ne, value, e_.integer(e_.i8(), 0));
  if (element.odd) value = e_.andi(e_.select(element.odd, e_.shr(value, 4), value), 15);
  scf::YieldOp::create(e_.builder, e_.loc, value);
  e_.builder.setInsertionPointToEnd(branch.elseBlock());
  // The fill of a float view is given as f32 bits.
  Value other;
  if (dtype == DType::f32)
    other = e_.floatBits(type, static_cast<uint32_t>(fill));
  else if (is_float(dtype))
    other = convert(e_, DType::f32, dtype, e_.floatBits(e_.f32(), static_cast<uint32_t>(fill)));
  else
    other = e_.integer(type, fill);
  scf::YieldOp::create(e_.builder, e_.loc, other);
  return branch.getResult(0);
}

Value KernelLowering::loadElement(LoadOp load, const Point& point) {
  const Element element = locate(load.getView(), load.getOffsets(), load.getOverridden(),
                                 load.getOverrides(), point, {});
  return readElement(load.getView(), element, load.getFill());
}

Value KernelLowering::gatherElement(GatherOp gather, const Point& point) {
  const lang::TileShape rows = typeOf(gather.getRows()).shape;
  const Value row =
      evaluate(gather.getRows(), pointFrom(rows, llvm::ArrayRef<Value>(point.index).take_front(1)));
  const Element element = locate(gather.getView(), gather.getOffsets(), gather.getOverridden(),
                                 gather.getOverrides(), point, e_.signExtend(row, e_.i64()));
  return readElement(gather.getView(), element, gather.getFill());
}

void KernelLowering::lowerStore(StoreOp store) {
  const bool reread = kernel_.view(store.getView()).getAccess() == Access::readwrite;
  if (reread) barrier();
  const DType dtype = *tile::dtypeOf(kernel_.view(store.getView()).getType());
  const auto write = [&](const Point& p, Value value) {
    const Element element = locate(store.getView(), store.getOffsets(), store.getOverridden(),
                                   store.getOverrides(), p, {});
    Value wanted = element.inside;
    if (store.getMask()) wanted = e_.andi(wanted, evaluate(store.getMask(), p));
    e_.ifThen(wanted, [&] {
      memory_.storeGlobal(e_.loc, e_.zeroExtend(value, memoryType(e_, dtype)), element.address);
    });
  };
  const lang::TileShape shape = typeOf(store.getTile()).shape;
  if (shape.rank() == 0) {
    e_.ifThen(e_.compare(arith::CmpIPredicate::eq, thread_, e_.i32(0)),
              [&] { write(Point(), scalar(store.getTile())); });
  } else if (dtype == DType::f4e2m1) {
    // One thread writes both codes of a byte.
    forOwned(shape, [&](const Point& p) {
      e_.ifThen(e_.compare(arith::CmpIPredicate::eq, e_.andi(p.linear, 1), e_.i32(0)), [&] {
        const Point low = pointAt(shape, p.linear),
                    high = pointAt(shape, e_.add(p.linear, e_.i32(1)));
        const Value codes =
            e_.ori(evaluate(store.getTile(), low), e_.shl(evaluate(store.getTile(), high), 4));
        write(low, codes);
      });
    });
  } else {
    forOwned(shape, [&](const Point& p) { write(p, evaluate(store.getTile(), p)); });
  }
  if (reread) barrier();
}

void KernelLowering::lowerRowUpdate(Operation* op) {
  const bool atomic = llvm::isa<AtomicAddOp>(op);
  const auto emit = [&](auto update) {
    const DType dtype = *tile::dtypeOf(kernel_.view(update.getView()).getType());
    forOwned(typeOf(update.getTile()).shape, [&](const Point& p) {
      const lang::TileShape rows = typeOf(update.getRows()).shape;
      const Value row =
          evaluate(update.getRows(), pointFrom(rows, llvm::ArrayRef<Value>(p.index).take_front(1)));
      const Element element = locate(update.getView(), update.getOffsets(), update.getOverridden(),
                                     update.getOverrides(), p, e_.signExtend(row, e_.i64()));
      const Value value = evaluate(update.getTile(), p);
      e_.ifThen(element.inside, [&] {
        if (atomic)
          memory_.atomicAddGlobal(e_.loc, value, element.address);
        else
          memory_.storeGlobal(e_.loc, e_.zeroExtend(value, memoryType(e_, dtype)), element.address);
      });
    });
  };
  barrier();
  if (auto scatter = llvm::dyn_cast<ScatterOp>(op))
    emit(scatter);
  else
    emit(llvm::cast<AtomicAddOp>(op));
  barrier();  // later loads of the same view see it
}

}  // namespace tessera::compiler::simt
