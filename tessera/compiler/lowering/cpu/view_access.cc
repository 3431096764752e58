// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/view_access.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/ranges.h"

namespace tessera::compiler::cpu {

namespace arith = mlir::arith;
namespace LLVM = mlir::LLVM;
using arith::CmpIPredicate;
using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Value;
using mlir::ValueRange;

ViewAccess::ViewAccess(Evaluator& evaluator, tile::KernelOp kernel, Value slots)
    : evaluator_(evaluator), e(evaluator.e), kernel_(kernel), slots_(slots) {
  const auto slot = [&](int64_t number) { return e.load(e.i64(), e.offset(slots, 8 * number), 8); };
  for (mlir::Attribute attribute : kernel.getViews()) {
    View view;
    view.attribute = llvm::cast<tile::ViewAttr>(attribute);
    view.dtype = *tile::dtypeOf(view.attribute.getType());
    const ArrayRef<int64_t> extents = view.attribute.getExtents(),
                            strides = view.attribute.getStrides();
    const int64_t first = view.attribute.getSlot();
    view.address = LLVM::IntToPtrOp::create(e.builder, e.loc, e.pointer(), slot(first));
    for (size_t i = 0; i < extents.size(); ++i)
      view.extents.push_back(extents[i] == 0 ? Number{e.i64(1), 1}
                                             : Number{slot(first + 1 + i), extents[i]});
    for (size_t i = 0; i < strides.size(); ++i)
      view.strides.push_back(strides[i] == 0 ? Index(1)
                                             : Index(slot(first + 1 + extents.size() + i)));
    view.strides.push_back(1);
    views_.push_back(std::move(view));
  }
}

Value ViewAccess::scalarArgument(int64_t index) {
  const tile::ScalarAttr scalar = kernel_.scalar(index);
  const DType dtype = *tile::dtypeOf(scalar.getType());
  return loadLanes(e, dtype, e.offset(slots_, 8 * int64_t{scalar.getSlot()}), 0, 1);
}

// ---- bounds ----

Value ViewAccess::bothOrOne(Value a, Value b) {
  if (!a) return b;
  return b ? e.andi(a, b) : a;
}

/// 0 <= offset and offset + count <= extent; null when certain. `tileOffset` is the same offset in
/// the tile dialect, for proofs.
Value ViewAccess::isInside(Value offset, Value extent, int64_t count, Value tileOffset,
                           bool certainBelow) {
  Value result;
  if (!isNonNegative(tileOffset)) result = e.compare(CmpIPredicate::sge, offset, e.i64(0));
  if (!certainBelow) {
    const Value end = count == 0 ? offset : e.add(offset, e.i64(count));
    result = bothOrOne(result, e.compare(CmpIPredicate::sle, end, extent));
  }
  return result;
}

Region ViewAccess::region(int64_t index, uint64_t overridden, ValueRange offsets,
                          ValueRange overrides, ArrayRef<int64_t> shape, int64_t replaced,
                          bool wholly) {
  const View& view = views_[index];
  const int64_t rank = static_cast<int64_t>(view.extents.size());
  const int64_t plain = rank - static_cast<int64_t>(shape.size());
  Region region;
  region.dtype = view.dtype;
  region.shape.assign(shape.begin(), shape.end());
  Index position = 0;
  size_t nextOverride = 0;
  for (int64_t dim = 0; dim < rank; ++dim) {
    const Value override = (overridden >> dim) & 1 ? overrides[nextOverride++] : Value();
    const Value offset = dim == replaced ? e.i64(0) : evaluator_.scalars.at(offsets[dim]);
    const Value extent = override ? evaluator_.scalars.at(override) : view.extents[dim].value;
    const int64_t count = dim < plain ? 1 : shape[dim - plain];
    Value inside;
    if (dim != replaced && !wholly) {
      const bool certain =
          fitsBelow(offsets[dim], count, index, dim, override, view.extents[dim].divisor);
      inside = isInside(offset, extent, count, offsets[dim], certain);
    }
    region.full = bothOrOne(region.full, inside);
    if (dim < plain) {
      region.leading = bothOrOne(region.leading, inside);
    } else {
      region.offsets.push_back(offset);
      region.extents.push_back(extent);
      region.strides.push_back(view.strides[dim]);
    }
    const Index stride = view.strides[dim];
    position = add(e, position,
                   stride.isConstant() ? scale(e, Index(offset), stride.constant)
                                       : Index(e.mul(offset, materialize(e, stride))));
  }
  const Index bytes = view.dtype == DType::f4e2m1 ? divide(e, position, 2)
                                                  : scale(e, position, bits(view.dtype) / 8);
  region.base = offset(e, view.address, bytes);
  return region;
}

Value ViewAccess::insideMask(const Region& region, const Lanes& lanes) {
  if (!region.full) return {};
  Value mask = region.leading ? e.splat(region.leading, lanes.count) : Value();
  for (size_t i = 0; i < region.shape.size(); ++i) {
    const bool along = static_cast<int>(i) == lanes.dim && lanes.count > 1;
    Value position = e.splat(e.add(region.offsets[i], materialize(e, lanes.at[i])), lanes.count);
    if (along) {
      SmallVector<int64_t> steps(lanes.count);
      for (int64_t s = 0; s < lanes.count; ++s) steps[s] = s;
      position = e.add(position, e.integers(e.i64(), steps));
    }
    // One unsigned comparison: negative positions are large.
    mask = bothOrOne(
        mask, e.compare(CmpIPredicate::ult, position, e.splat(region.extents[i], lanes.count)));
  }
  return mask;
}

Value ViewAccess::isStreamable(int64_t index, const Region& region, int64_t alignment) {
  const View& view = views_[index];
  Value low = LLVM::PtrToIntOp::create(e.builder, e.loc, e.i64(), region.base);
  for (size_t i = 0; i + 1 < region.shape.size(); ++i)
    if (region.shape[i] > 1)
      low = e.ori(low, e.mul(materialize(e, region.strides[i]), e.i64(bits(view.dtype) / 8)));
  const Value aligned = e.compare(CmpIPredicate::eq, e.andi(low, alignment - 1), e.i64(0));
  return bothOrOne(aligned, region.full);
}

Value ViewAccess::alignmentBits(int64_t index) {
  const View& view = views_[index];
  Value low = LLVM::PtrToIntOp::create(e.builder, e.loc, e.i64(), view.address);
  for (const Index& stride : ArrayRef(view.strides).drop_back())
    low = e.ori(low, e.mul(materialize(e, stride), e.i64(bits(view.dtype) / 8)));
  return low;
}

// ---- scratch memory ----

Place ViewAccess::scratch(DType dtype, ArrayRef<int64_t> shape) {
  int64_t elements = 1;
  for (int64_t extent : shape) elements *= extent;
  Place place{e.scratch(size_in_bytes(dtype, elements)), dtype, {}};
  for (int64_t stride : rowMajor(shape)) place.strides.push_back(stride);
  return place;
}

void ViewAccess::fill(Value pointer, DType dtype, int64_t elements, int64_t constant) {
  const uint64_t pattern = memoryPattern(dtype, constant);
  const int64_t bytes = size_in_bytes(dtype, elements);
  if (pattern == 0 || bits(dtype) <= 8) {
    LLVM::MemsetOp::create(e.builder, e.loc, pointer,
                           e.integer(e.i8(), static_cast<int64_t>(pattern)), e.i64(bytes),
                           /*isVolatile=*/false);
    return;
  }
  const int64_t width = bits(dtype) / 8;
  const Value element = e.integer(e.builder.getIntegerType(static_cast<unsigned>(8 * width)),
                                  static_cast<int64_t>(pattern));
  e.loop(0, bytes, width,
         [&](Value at) { e.store(element, e.offset(pointer, at), static_cast<unsigned>(width)); });
}

// ---- edges ----

namespace {

constexpr const char* kCopyRows = "copy_rows";

/// void copy_rows(to, toStride0, toStride1, from, fromStride0, fromStride1, begin0, end0, begin1,
/// end1, first, bytes): for rows (i, j) in the two ranges, `bytes` bytes from byte `first` on.
/// Strides in bytes.
void defineCopyRows(Emitter& e, mlir::ModuleOp module) {
  mlir::OpBuilder::InsertionGuard guard(e.builder);
  e.builder.setInsertionPointToStart(module.getBody());
  const mlir::Type p = e.pointer(), n = e.i64();
  const auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(e.builder.getContext()),
                                                {p, n, n, p, n, n, n, n, n, n, n, n});
  auto function =
      LLVM::LLVMFuncOp::create(e.builder, e.loc, kCopyRows, type, LLVM::Linkage::Internal);
  function.setNoInline(true);
  // Calls happen at edges only: registers are saved there, not in the loops around.
  function.setPassthroughAttr(e.builder.getStrArrayAttr({"cold"}));
  mlir::Block* entry = function.addEntryBlock(e.builder);
  e.builder.setInsertionPointToStart(entry);
  const auto argument = [&](unsigned i) -> Value { return entry->getArgument(i); };
  e.ifThen(e.compare(CmpIPredicate::sgt, argument(11), e.i64(0)), [&] {
    e.loop(argument(6), argument(7), e.i64(1), {}, [&](Value i, ValueRange) -> SmallVector<Value> {
      e.loop(argument(8), argument(9), e.i64(1), {},
             [&](Value j, ValueRange) -> SmallVector<Value> {
               const auto row = [&](unsigned pointer) {
                 const Value bytes =
                     e.add(e.mul(i, argument(pointer + 1)), e.mul(j, argument(pointer + 2)));
                 return e.offset(argument(pointer), e.add(bytes, argument(10)));
               };
               e.memcpy(row(0), row(3), argument(11));
               return {};
             });
      return {};
    });
  });
  LLVM::ReturnOp::create(e.builder, e.loc, ValueRange{});
}

}  // namespace

/// Copies the part of the tile that is inside the view.
void ViewAccess::copyInside(const Region& region, Value to, ArrayRef<Index> toStrides, Value from,
                            ArrayRef<Index> fromStrides) {
  auto module = kernel_->getParentOfType<mlir::ModuleOp>();
  if (!module.lookupSymbol(kCopyRows)) defineCopyRows(e, module);
  const bool nibbles = region.dtype == DType::f4e2m1;
  const size_t rank = region.shape.size();
  SmallVector<Value, 3> begin, end;
  for (size_t i = 0; i < rank; ++i) {
    begin.push_back(e.maxSigned(e.i64(0), e.sub(e.i64(0), region.offsets[i])));
    end.push_back(e.minSigned(e.i64(region.shape[i]), e.sub(region.extents[i], region.offsets[i])));
  }
  const auto bytes = [&](Value elements) {
    return nibbles ? e.sar(elements, 1) : e.mul(elements, e.i64(bits(region.dtype) / 8));
  };
  const auto byteStride = [&](ArrayRef<Index> strides, size_t fromLast) {
    return rank > fromLast ? bytes(materialize(e, strides[rank - 1 - fromLast])) : e.i64(0);
  };
  const auto range = [&](size_t fromLast) -> std::pair<Value, Value> {
    if (rank <= fromLast) return {e.i64(0), e.i64(1)};
    return {begin[rank - 1 - fromLast], end[rank - 1 - fromLast]};
  };
  const auto [begin0, end0] = range(2);
  const auto [begin1, end1] = range(1);
  const Value first = bytes(begin.back()),
              last = bytes(nibbles ? e.add(end.back(), e.i64(1)) : end.back());
  LLVM::CallOp::create(e.builder, e.loc, mlir::TypeRange{}, kCopyRows,
                       ValueRange{to, byteStride(toStrides, 2), byteStride(toStrides, 1), from,
                                  byteStride(fromStrides, 2), byteStride(fromStrides, 1), begin0,
                                  end0, begin1, end1, first, e.sub(last, first)});
}

Place ViewAccess::readable(const Region& region, int64_t fillBits) {
  Place direct{region.base, region.dtype, region.strides};
  if (!region.full) return direct;
  if (region.shape.empty()) {  // a scalar: its own address or that of the fill
    const Place spare = scratch(region.dtype, {});
    e.store(e.integer(e.builder.getIntegerType(std::max(8, bits(region.dtype))),
                      static_cast<int64_t>(memoryPattern(region.dtype, fillBits))),
            spare.pointer);
    direct.pointer = e.select(region.full, region.base, spare.pointer);
    return direct;
  }
  Place copy = scratch(region.dtype, region.shape);
  int64_t elements = 1;
  for (int64_t extent : region.shape) elements *= extent;
  e.ifThen(e.xori(region.full, 1), [&] {
    fill(copy.pointer, region.dtype, elements, fillBits);
    const auto copyIn = [&] {
      copyInside(region, copy.pointer, copy.strides, region.base, region.strides);
    };
    if (region.leading)
      e.ifThen(region.leading, copyIn);
    else
      copyIn();
  });
  Place chosen{e.select(region.full, region.base, copy.pointer), region.dtype, {}};
  for (auto [mine, its] : llvm::zip_equal(region.strides, copy.strides))
    chosen.strides.push_back(
        mine == its ? mine
                    : Index(e.select(region.full, materialize(e, mine), materialize(e, its))));
  return chosen;
}

Place ViewAccess::writable(const Region& region) {
  if (!region.full) return {region.base, region.dtype, region.strides};
  const Place copy = scratch(region.dtype, region.shape);
  Place chosen{e.select(region.full, region.base, copy.pointer), region.dtype, {}};
  for (auto [mine, its] : llvm::zip_equal(region.strides, copy.strides))
    chosen.strides.push_back(
        mine == its ? mine
                    : Index(e.select(region.full, materialize(e, mine), materialize(e, its))));
  return chosen;
}

void ViewAccess::finishWrite(const Region& region, const Place& written) {
  if (!region.full) return;
  e.ifThen(e.xori(region.full, 1), [&] {
    const auto copyOut = [&] {
      // Here the chosen place is the copy.
      copyInside(region, region.base, region.strides, written.pointer, written.strides);
    };
    if (region.leading)
      e.ifThen(region.leading, copyOut);
    else
      copyOut();
  });
}

}  // namespace tessera::compiler::cpu
