// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/kernel_lowering.h"

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/dot_ops.h"
#include "tessera/compiler/lowering/cpu/whole_tiles.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/passes/passes.h"

namespace tessera::compiler::cpu {

namespace scf = mlir::scf;
using llvm::SmallVector;
using mlir::failure;
using mlir::LogicalResult;
using mlir::success;
using mlir::Value;
using mlir::ValueRange;

KernelLowering::KernelLowering(Emitter& emitter, tile::KernelOp kernel, Value slots)
    : e(emitter), evaluator(emitter), views(evaluator, kernel, slots), kernel_(kernel) {}

LogicalResult KernelLowering::lowerBody(std::array<Value, 3> ids, std::array<Value, 3> grid) {
  ids_ = ids;
  grid_ = grid;
  return lowerBlock(kernel_.getBody().front());
}

LogicalResult KernelLowering::lowerBlock(mlir::Block& block) {
  deferSources(*this, block);
  for (mlir::Operation& op : block.without_terminator()) {
    if (deferred.contains(&op)) continue;
    e.loc = op.getLoc();
    if (failed(lower(&op))) return failure();
  }
  return success();
}

// ---- places ----

void KernelLowering::storeTo(const Place& place, Value tile, unsigned streamedAlignment) {
  const auto shape = tile::typeOf(tile).getShape();
  if (shape.empty()) {
    evaluator.write(place, evaluator.eval(tile, {}), {});
    return;
  }
  const int dim = Evaluator::vectorDim(shape);
  const int64_t chunk = streamedAlignment == 0 ? evaluator.chunkOf(shape[dim])
                                               : streamedChunk(place.dtype, shape[dim]);
  evaluator.forEachChunk(shape, dim, chunk, evaluator.unrollLimit(tile), [&](const Lanes& lanes) {
    evaluator.write(place, evaluator.eval(tile, lanes), lanes, streamedAlignment);
  });
  evaluator.forget();
}

Place KernelLowering::placeOf(Value tile) {
  if (const auto known = evaluator.places.find(tile); known != evaluator.places.end())
    return known->second;
  const Place place = newPlace(tile);
  storeTo(place, tile);
  return place;
}

bool KernelLowering::ownsPlace(Value tile, mlir::Block* block) const {
  return evaluator.places.count(tile) && tile.hasOneUse() && tile.getParentBlock() == block &&
         !tile.getDefiningOp<tile::LoadOp>();
}

Reads KernelLowering::readsOf(Value tile, Value stored) {
  if (tile == stored) return Reads::kInPlace;
  if (tile::isScalar(tile)) return Reads::kNot;
  const auto mine = evaluator.places.find(tile);
  if (mine != evaluator.places.end())
    return mine->second.pointer == evaluator.places.at(stored).pointer ? Reads::kElsewhere
                                                                       : Reads::kNot;
  mlir::Operation* op = tile.getDefiningOp();
  if (op == nullptr) return Reads::kNot;
  Reads most = Reads::kNot;
  for (Value operand : op->getOperands()) most = std::max(most, readsOf(operand, stored));
  return most == Reads::kInPlace && !isElementwise(op) ? Reads::kElsewhere : most;
}

// ---- one operation ----

LogicalResult KernelLowering::lower(mlir::Operation* op) {
  if (lowerScalarSource(op)) return success();
  bool handled = true;
  LogicalResult result = success();
  llvm::TypeSwitch<mlir::Operation*>(op)
      .Case([&](tile::LoadOp o) { lowerLoad(o); })
      .Case([&](tile::StoreOp o) { lowerStore(o); })
      .Case([&](tile::ForOp o) { result = lowerFor(o); })
      .Case([&](tile::IfOp o) { result = lowerIf(o); })
      .Case([&](tile::ReduceOp o) { lowerReduce(*this, o); })
      .Case([&](tile::ScanOp o) { lowerScan(*this, o); })
      .Case([&](tile::ConcatOp o) { lowerConcat(*this, o); })
      .Case([&](tile::TakeOp o) { lowerTake(*this, o); })
      .Case([&](tile::HistogramOp o) { lowerHistogram(*this, o); })
      .Case([&](tile::SortOp o) { lowerSort(*this, o); })
      .Case([&](tile::GatherOp o) { lowerGather(*this, o); })
      .Case([&](tile::ScatterOp o) { lowerScatter(*this, o); })
      .Case([&](tile::AtomicAddOp o) { lowerAtomicAdd(*this, o); })
      .Case([&](tile::DotOp o) { lowerDot(*this, o); })
      .Case([&](tile::DotScaledOp o) { lowerDotScaled(*this, o); })
      .Default([&](mlir::Operation*) { handled = false; });
  if (handled) return result;
  // What is left is evaluated point by point: scalars and roots now, the rest in its consumers.
  const bool isRoot = op->hasAttr(kRootAttribute);
  for (Value value : op->getResults()) {
    if (tile::isScalar(value)) {
      evaluator.scalars[value] = evaluator.eval(value, {});
    } else if (isRoot) {
      evaluator.places[value] = placeOf(value);
      evaluator.forget();
    }
  }
  return success();
}

bool KernelLowering::lowerScalarSource(mlir::Operation* op) {
  const Value value =
      llvm::TypeSwitch<mlir::Operation*, Value>(op)
          .Case([&](tile::ProgramIdOp o) { return ids_[o.getAxis()]; })
          .Case([&](tile::NumProgramsOp o) { return grid_[o.getAxis()]; })
          .Case([&](tile::ExtentOp o) { return views.extent(o.getView(), o.getDim()); })
          .Case([&](tile::ScalarArgOp o) { return views.scalarArgument(o.getIndex()); })
          .Default(Value());
  if (value) evaluator.scalars[op->getResult(0)] = value;
  return static_cast<bool>(value);
}

// ---- memory ----

namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kPrefetchAhead = 12 * 1024;  // bytes; into L2: processors stop at page ends
constexpr int64_t kPrefetchedLines = 32;       // of one tile

/// Whether memory decides what the scalar is: then nothing is known of what follows it.
bool isLoaded(Value scalar) {
  mlir::Operation* op = scalar.getDefiningOp();
  if (op == nullptr) return false;
  return llvm::isa<tile::LoadOp>(op) || llvm::any_of(op->getOperands(), isLoaded);
}

}  // namespace

/// Where a loop stores past the caches, or where it loaded from, what it reads comes from memory as
/// well.
bool KernelLowering::isWorthPrefetching(tile::LoadOp op) const {
  auto loop = llvm::dyn_cast<tile::ForOp>(op->getParentOp());
  const auto view = static_cast<int64_t>(op.getView());
  const llvm::ArrayRef<int64_t> shape = tile::typeOf(op.getResult()).getShape();
  const auto rank = static_cast<int64_t>(op.getOffsets().size());
  if (!loop || rank < 2 || shape.empty() || bits(views.dtype(view)) < 8) return false;
  if (views.stride(view, rank - 1) != Index(1)) return false;
  if (llvm::any_of(op.getOffsets(), isLoaded)) return false;
  return llvm::any_of(loop.getBody().front().getOps<tile::StoreOp>(), [&](tile::StoreOp store) {
    const bool inPlace = static_cast<int64_t>(store.getView()) == view;
    return !store.getMask() && (inPlace || streamAlignment(store) != 0);
  });
}

void KernelLowering::prefetch(const Region& region) {
  const int64_t row = size_in_bytes(region.dtype, region.shape.back());
  const int64_t rows = region.shape.size() > 1 ? region.shape[region.shape.size() - 2] : 1;
  const int64_t lines = std::max<int64_t>(1, row / kLine);
  if (region.shape.size() > 2 && region.shape.front() > 1) return;
  if (rows * lines > kPrefetchedLines) return;
  for (int64_t r = 0; r < rows; ++r) {
    Value from = region.base;
    if (r > 0) {
      const Index stride = region.strides[region.shape.size() - 2];
      const Value bytes = e.mul(materialize(e, stride), e.i64(r * bits(region.dtype) / 8));
      from = e.offset(from, bytes);
    }
    for (int64_t line = 0; line < lines; ++line)
      e.prefetch(e.offset(from, kPrefetchAhead + line * kLine), /*locality=*/2);
  }
}

void KernelLowering::lowerLoad(tile::LoadOp op) {
  const Value tile = op.getResult();
  const Region region =
      views.region(op.getView(), op.getOverridden(), op.getOffsets(), op.getOverrides(),
                   tile::typeOf(tile).getShape(), /*replaced=*/-1, whole_.contains(op));
  if (isWorthPrefetching(op)) prefetch(region);
  const Place place = views.readable(region, static_cast<int64_t>(op.getFill()));
  if (tile::isScalar(tile)) {
    evaluator.scalars[tile] = evaluator.read(place, {});
    return;
  }
  evaluator.places[tile] = place;
  if (!op->hasAttr(kRootAttribute)) return;
  const Place copy = newPlace(tile);
  storeTo(copy, tile);
  evaluator.places[tile] = copy;
  evaluator.forget();
}

void KernelLowering::lowerStore(tile::StoreOp op) {
  const Value tile = op.getTile();
  const Region region =
      views.region(op.getView(), op.getOverridden(), op.getOffsets(), op.getOverrides(),
                   tile::typeOf(tile).getShape(), /*replaced=*/-1, whole_.contains(op));
  if (op.getMask()) return storeMaskedTile(op, region);
  if (tile::isScalar(tile)) {
    const auto write = [&] {
      evaluator.write({region.base, region.dtype, {}}, evaluator.scalars.at(tile), {});
    };
    if (region.full)
      e.ifThen(region.full, write);
    else
      write();
    return;
  }
  if (storeStreamed(op, region)) return;
  const Place place = views.writable(region);
  storeTo(place, tile);
  views.finishWrite(region, place);
}

/// Narrow elements of several chunks fill a register: stores past the caches are slow where they
/// write part of a line at a time.
int64_t KernelLowering::streamedChunk(DType dtype, int64_t extent) const {
  const int64_t whole = int64_t{8} * e.target.registerBytes() / bits(dtype);
  return std::min(extent, std::max(evaluator.chunkOf(extent), whole));
}

int64_t KernelLowering::streamAlignment(tile::StoreOp op) const {
  const auto view = static_cast<int64_t>(op.getView());
  const llvm::ArrayRef<int64_t> shape = tile::typeOf(op.getTile()).getShape();
  const DType dtype = views.dtype(view);
  if (!e.target.isX86 || !views.isStreamed(view) || shape.empty() || dtype == DType::f4e2m1)
    return 0;
  const int dim = Evaluator::vectorDim(shape);
  const auto plain = static_cast<int64_t>(op.getOffsets().size() - shape.size());
  if (views.stride(view, plain + dim) != Index(1)) return 0;
  const int64_t alignment = std::min<int64_t>(streamedChunk(dtype, shape[dim]) * bits(dtype) / 8,
                                              e.target.registerBytes());
  return alignment < 16 ? 0 : alignment;
}

/// Two versions of the store: past the caches where all chunks are aligned, else the usual one.
bool KernelLowering::storeStreamed(tile::StoreOp op, const Region& region) {
  const int64_t alignment = streamAlignment(op);
  if (alignment == 0) return false;
  streams_ = true;
  if (whole_.contains(op)) {
    storeTo({region.base, region.dtype, region.strides}, op.getTile(),
            static_cast<unsigned>(alignment));
    return true;
  }
  const Value streamable =
      views.isStreamable(static_cast<int64_t>(op.getView()), region, alignment);
  auto branch = scf::IfOp::create(e.builder, e.loc, streamable, /*withElseRegion=*/true);
  mlir::OpBuilder::InsertionGuard guard(e.builder);
  e.builder.setInsertionPoint(branch.thenBlock()->getTerminator());
  evaluator.scoped([&] {
    storeTo({region.base, region.dtype, region.strides}, op.getTile(),
            static_cast<unsigned>(alignment));
  });
  e.builder.setInsertionPoint(branch.elseBlock()->getTerminator());
  evaluator.scoped([&] {
    const Place place = views.writable(region);
    storeTo(place, op.getTile());
    views.finishWrite(region, place);
  });
  evaluator.forget();
  return true;
}

void KernelLowering::storeMaskedTile(tile::StoreOp op, const Region& region) {
  const Value tile = op.getTile();
  const auto shape = tile::typeOf(tile).getShape();
  const Place place{region.base, region.dtype, region.strides};
  const int dim = Evaluator::vectorDim(shape);
  const bool contiguous = shape.empty() || region.strides[dim] == Index(1);
  const auto writeLanes = [&](const Lanes& lanes) {
    Value mask = evaluator.eval(op.getMask(), lanes);
    if (const Value inside = views.insideMask(region, lanes)) mask = e.andi(mask, inside);
    Index first = 0;
    for (auto [index, stride] : llvm::zip_equal(lanes.at, place.strides))
      first =
          add(e, first,
              stride.isConstant() ? scale(e, index, stride.constant)
                                  : Index(e.mul(materialize(e, index), materialize(e, stride))));
    storeMasked(e, place.dtype, evaluator.eval(tile, lanes), mask, place.pointer, first);
  };
  if (shape.empty())
    writeLanes({});
  else
    evaluator.forEachChunk(shape, dim, contiguous ? evaluator.chunkOf(shape[dim]) : 1,
                           evaluator.unrollLimit(tile) / 2 + 1, writeLanes);
  evaluator.forget();
}

// ---- control ----

namespace {

/// Chunks of a copy that are written out.
constexpr int64_t kCopiedChunks = 16;

/// Copies rows of equal shape.
void copyTile(KernelLowering& k, const Place& to, const Place& from,
              llvm::ArrayRef<int64_t> shape) {
  const int dim = Evaluator::vectorDim(shape);
  k.evaluator.forEachChunk(
      shape, dim, k.evaluator.chunkOf(shape[dim]), kCopiedChunks,
      [&](const Lanes& lanes) { k.evaluator.write(to, k.evaluator.read(from, lanes), lanes); });
}

}  // namespace

SmallVector<Value> KernelLowering::emitTurns(tile::ForOp op, ValueRange inits,
                                             LogicalResult& status) {
  mlir::Block& body = op.getBody().front();
  const auto bound = [&](Value value) { return evaluator.scalars.at(value); };
  return e.loop(bound(op.getLo()), bound(op.getHi()), bound(op.getStep()), inits,
                [&](Value i, ValueRange carried) {
                  evaluator.scalars[op.induction()] = i;
                  size_t next = 0;
                  for (Value param : body.getArguments().drop_front())
                    if (tile::isScalar(param)) evaluator.scalars[param] = carried[next++];
                  if (failed(lowerBlock(body))) status = failure();
                  e.loc = op.getLoc();
                  if (succeeded(status)) storeCarried(op);
                  SmallVector<Value> yields;
                  for (Value value : op.yielded())
                    if (tile::isScalar(value)) yields.push_back(evaluator.scalars.lookup(value));
                  return yields;
                });
}

SmallVector<Value> KernelLowering::emitVersion(tile::ForOp op, ValueRange inits,
                                               const llvm::DenseSet<mlir::Operation*>& whole,
                                               LogicalResult& status) {
  const auto scalars = evaluator.scalars;
  const auto places = evaluator.places;
  const auto sums = carriedSums;
  whole_ = whole;
  const SmallVector<Value> last = emitTurns(op, inits, status);
  whole_.clear();
  evaluator.forget();
  evaluator.scalars = scalars;
  evaluator.places = places;
  carriedSums = sums;
  return last;
}

LogicalResult KernelLowering::lowerFor(tile::ForOp op) {
  mlir::Block& body = op.getBody().front();
  SmallVector<Value> scalarInits;
  for (auto [init, param, result] :
       llvm::zip_equal(op.getInits(), body.getArguments().drop_front(), op->getOpResults())) {
    if (tile::isScalar(init)) {
      scalarInits.push_back(evaluator.scalars.at(init));
      continue;
    }
    const auto layout = carriedLayout(*this, op, result.getResultNumber());
    if (layout != DotTask::Accumulator::kPlain) {
      carriedSums[param] = beginCarriedSums(*this, init, layout);
      continue;
    }
    const bool owned = ownsPlace(init, op->getBlock());
    const Place place = owned ? evaluator.places.at(init) : newPlace(init);
    if (!owned) storeTo(place, init);
    evaluator.places[param] = place;
    evaluator.places[result] = place;
  }
  LogicalResult status = success();
  evaluator.forget();
  SmallVector<Value> last;
  if (const WholeTiles whole = findWholeTiles(*this, op); whole.hold) {
    Emitter::Scratch made;
    last = branch(
        e, whole.hold,
        [&] {
          const Emitter::ScratchScope scope(e, &made, nullptr);
          return emitVersion(op, scalarInits, whole.accesses, status);
        },
        [&] {
          const Emitter::ScratchScope scope(e, nullptr, &made);
          return emitVersion(op, scalarInits, {}, status);
        });
  } else {
    last = emitTurns(op, scalarInits, status);
  }
  evaluator.forget();
  size_t next = 0;
  for (auto [init, param, result] :
       llvm::zip_equal(op.getInits(), body.getArguments().drop_front(), op.getResults())) {
    if (tile::isScalar(result)) evaluator.scalars[result] = last[next++];
    if (const auto sums = carriedSums.find(param); sums != carriedSums.end()) {
      const Place place = newPlace(result);
      endCarriedSums(*this, sums->second, init, place);
      evaluator.places[result] = place;
    }
  }
  return status;
}

namespace {

struct Carried {
  Value param, yielded;
  Place to;
};

/// Whether `candidate` may be overwritten now: no other pending value still reads it.
bool mayOverwrite(KernelLowering& k, const Carried& candidate, llvm::ArrayRef<Carried> pending) {
  return llvm::all_of(pending, [&](const Carried& other) {
    const Reads reads = k.readsOf(other.yielded, candidate.param);
    return reads == Reads::kNot || (reads == Reads::kInPlace && other.param == candidate.param);
  });
}

}  // namespace

/// Writes the yielded tiles over the carried ones, each when nothing else needs the old value any
/// more; where there is no such order, by way of scratch memory.
void KernelLowering::storeCarried(tile::ForOp op) {
  SmallVector<Carried> pending;
  for (auto [param, yielded] :
       llvm::zip_equal(op.getBody().getArguments().drop_front(), op.yielded())) {
    if (tile::isScalar(param) || carriedSums.count(param)) continue;
    const Place to = evaluator.places.at(param);
    const auto stored = evaluator.places.find(yielded);
    if (stored == evaluator.places.end() || stored->second.pointer != to.pointer)
      pending.push_back({param, yielded, to});
  }
  for (bool progress = true; progress && !pending.empty();) {
    progress = false;
    for (size_t i = 0; i < pending.size(); ++i) {
      if (!mayOverwrite(*this, pending[i], pending)) continue;
      storeTo(pending[i].to, pending[i].yielded);
      pending.erase(pending.begin() + static_cast<ptrdiff_t>(i));
      progress = true;
      break;
    }
  }
  SmallVector<Place> copies;
  for (const Carried& p : pending) {
    copies.push_back(newPlace(p.yielded));
    storeTo(copies.back(), p.yielded);
  }
  for (auto [p, copy] : llvm::zip_equal(pending, copies))
    copyTile(*this, p.to, copy, tile::typeOf(p.param).getShape());
  evaluator.forget();
}

LogicalResult KernelLowering::lowerIf(tile::IfOp op) {
  SmallVector<mlir::Type> types;
  for (Value result : op.getResults()) {
    if (tile::isScalar(result))
      types.push_back(laneType(e, tile::dtypeOf(result)));
    else
      evaluator.places[result] = newPlace(result);
  }
  const Value condition = evaluator.scalars.at(op.getCondition());
  auto branch = scf::IfOp::create(e.builder, e.loc, types, condition, /*withElseRegion=*/true);
  LogicalResult status = success();
  const auto fill = [&](mlir::Block* to, mlir::Region& from, mlir::OperandRange yielded) {
    mlir::OpBuilder::InsertionGuard guard(e.builder);
    if (!to->empty()) to->back().erase();
    e.builder.setInsertionPointToEnd(to);
    evaluator.scoped([&] {
      if (failed(lowerBlock(from.front()))) status = failure();
      e.loc = op.getLoc();
      SmallVector<Value> scalars;
      for (auto [result, value] : llvm::zip_equal(op.getResults(), yielded)) {
        if (failed(status)) continue;
        if (tile::isScalar(result))
          scalars.push_back(evaluator.scalars.at(value));
        else
          storeTo(evaluator.places.at(result), value);
      }
      scf::YieldOp::create(e.builder, e.loc, scalars);
    });
  };
  fill(branch.thenBlock(), op.getThen(), op.thenYielded());
  fill(branch.elseBlock(), op.getOtherwise(), op.elseYielded());
  evaluator.forget();
  size_t next = 0;
  for (Value result : op.getResults())
    if (tile::isScalar(result))
      evaluator.scalars[result] = branch.getResult(static_cast<unsigned>(next++));
  return status;
}

}  // namespace tessera::compiler::cpu
