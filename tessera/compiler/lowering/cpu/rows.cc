// SPDX-License-Identifier: Apache-2.0
// gather, scatter, atomic_add: rows of a view picked by a tile of indices. Rows are handled one
// after the other and copied as bytes.
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/compiler/lowering/cpu/kernel_lowering.h"

namespace tessera::compiler::cpu {

namespace arith = mlir::arith;
using arith::CmpIPredicate;
using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Value;

namespace {

/// The rows that one operation picks.
class PickedRows {
 public:
  template <class Op>
  PickedRows(KernelLowering& lowering, Op op, Value tile)
      : k(lowering), e(lowering.e), rows_(op.getRows()), shape_(tile::typeOf(tile).getShape()) {
    const int64_t rank = static_cast<int64_t>(op.getOffsets().size());
    const int64_t picked = rank - static_cast<int64_t>(shape_.size());
    region_ = k.views.region(op.getView(), op.getOverridden(), op.getOffsets(), op.getOverrides(),
                             shape_, picked);
    start_ = k.evaluator.scalars.at(op.getOffsets()[picked]);
    stride_ = region_.strides[0];
  }

  const Region& region() const { return region_; }
  int64_t count() const { return shape_[0]; }
  int64_t columns() const { return shape_.size() > 1 ? shape_[1] : 1; }
  int64_t rowBytes() const { return size_in_bytes(region_.dtype, columns()); }

  struct Row {
    Value number;   // in the tile, i64
    Value inside;   // i1: it exists, and so do the plain indices
    Value address;  // of its first column of the tile
  };

  void forEach(llvm::function_ref<void(const Row&)> body) {
    e.loop(0, count(), 1, [&](Value number) {
      k.evaluator.scoped([&] {
        Lanes lanes;
        lanes.at.push_back(number);
        Value index = k.evaluator.eval(rows_, lanes);
        index = tile::dtypeOf(rows_) == DType::u32 ? e.zeroExtend(index, e.i64())
                                                   : e.signExtend(index, e.i64());
        const Value position = e.add(index, start_);
        Value inside = e.andi(e.compare(CmpIPredicate::sge, index, e.i64(0)),
                              e.compare(CmpIPredicate::ult, position, region_.extents[0]));
        if (region_.leading) inside = e.andi(inside, region_.leading);
        const Index distance = stride_.isConstant()
                                   ? scale(e, Index(position), stride_.constant)
                                   : Index(e.mul(position, materialize(e, stride_)));
        const Index bytes = region_.dtype == DType::f4e2m1
                                ? divide(e, distance, 2)
                                : scale(e, distance, bits(region_.dtype) / 8);
        body({number, inside, offset(e, region_.base, bytes)});
      });
    });
    k.evaluator.forget();
  }

  /// Runs `whole` for a row whose columns are all inside the view, else `part` with the first byte
  /// inside and the number of bytes (perhaps none).
  void columnsOf(const Row& row, llvm::function_ref<void()> whole,
                 llvm::function_ref<void(Value, Value)> part) {
    if (!region_.full || shape_.size() == 1) return e.ifThen(row.inside, whole);
    e.ifThen(e.andi(row.inside, region_.full), whole);
    e.ifThen(e.andi(row.inside, e.xori(region_.full, 1)), [&] {
      const Value first = e.maxSigned(e.i64(0), e.sub(e.i64(0), region_.offsets[1]));
      const Value end =
          e.minSigned(e.i64(columns()), e.sub(region_.extents[1], region_.offsets[1]));
      const auto toBytes = [&](Value elements) {
        return region_.dtype == DType::f4e2m1 ? e.sar(elements, 1)
                                              : e.mul(elements, e.i64(bits(region_.dtype) / 8));
      };
      const Value begin = toBytes(first), count = e.sub(toBytes(end), begin);
      e.ifThen(e.compare(CmpIPredicate::sgt, count, e.i64(0)), [&] { part(begin, count); });
    });
  }

 private:
  KernelLowering& k;
  Emitter& e;
  Value rows_, start_;
  SmallVector<int64_t, 2> shape_;
  Region region_;
  Index stride_;
};

}  // namespace

void lowerGather(KernelLowering& k, tile::GatherOp op) {
  Emitter& e = k.e;
  PickedRows rows(k, op, op.getResult());
  const Place result = k.newPlace(op.getResult());
  rows.forEach([&](const PickedRows::Row& row) {
    const Value to = e.offset(result.pointer, e.mul(row.number, e.i64(rows.rowBytes())));
    Value whole = row.inside;
    if (rows.region().full) whole = e.andi(whole, rows.region().full);
    e.ifThen(e.xori(whole, 1), [&] {
      k.views.fill(to, result.dtype, rows.columns(), static_cast<int64_t>(op.getFill()));
    });
    rows.columnsOf(
        row, [&] { e.memcpy(to, row.address, e.i64(rows.rowBytes())); },
        [&](Value first, Value count) {
          e.memcpy(e.offset(to, first), e.offset(row.address, first), count);
        });
  });
  k.evaluator.places[op.getResult()] = result;
}

void lowerScatter(KernelLowering& k, tile::ScatterOp op) {
  Emitter& e = k.e;
  const Place tile = k.placeOf(op.getTile());
  PickedRows rows(k, op, op.getTile());
  rows.forEach([&](const PickedRows::Row& row) {
    const Index distance = tile.strides[0].isConstant()
                               ? scale(e, Index(row.number), tile.strides[0].constant)
                               : Index(e.mul(row.number, materialize(e, tile.strides[0])));
    const Index bytes = tile.dtype == DType::f4e2m1 ? divide(e, distance, 2)
                                                    : scale(e, distance, bits(tile.dtype) / 8);
    const Value from = offset(e, tile.pointer, bytes);
    rows.columnsOf(
        row, [&] { e.memcpy(row.address, from, e.i64(rows.rowBytes())); },
        [&](Value first, Value count) {
          e.memcpy(e.offset(row.address, first), e.offset(from, first), count);
        });
  });
}

void lowerAtomicAdd(KernelLowering& k, tile::AtomicAddOp op) {
  Emitter& e = k.e;
  const Place tile = k.placeOf(op.getTile());
  PickedRows rows(k, op, op.getTile());
  const int64_t width = bits(tile.dtype) / 8;
  const auto addOne = [&](Value address, Value value) {
    mlir::LLVM::AtomicRMWOp::create(e.builder, e.loc, mlir::LLVM::AtomicBinOp::add, address, value,
                                    mlir::LLVM::AtomicOrdering::monotonic);
  };
  rows.forEach([&](const PickedRows::Row& row) {
    e.ifThen(row.inside, [&] {
      const bool flat = tile.strides.size() == 1;
      e.loop(0, rows.columns(), 1, [&](Value column) {
        Lanes lanes;
        lanes.at.push_back(row.number);
        if (!flat) lanes.at.push_back(column);
        const auto write = [&] {
          addOne(e.offset(row.address, e.mul(column, e.i64(width))), k.evaluator.read(tile, lanes));
        };
        if (flat || !rows.region().full) return write();
        const Value position = e.add(column, rows.region().offsets[1]);
        e.ifThen(e.compare(CmpIPredicate::ult, position, rows.region().extents[1]), write);
      });
    });
  });
}

}  // namespace tessera::compiler::cpu
