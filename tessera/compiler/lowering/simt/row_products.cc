// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/row_products.h"

#include "mlir/IR/IRMapping.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/carried_product.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/read_only.h"

namespace tessera::compiler::simt {

using lang::TileShape;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// Rows of a times rows of b that are worth it: a thread keeps a sum for each.
constexpr int64_t kMostSums = 32;
constexpr int64_t kMostRows = 8;  // of a

/// The product that a loop adds to one of its carried tiles, and nothing else does.
struct RowProduct {
  ForOp loop;
  size_t carried = 0;
  Operation* dot = nullptr;
  LoadOp a, b, aScale, bScale;  // scales may be null
  int64_t chunk = 1;            // elements of K a thread adds up before it scales
};

/// What brings the tile in this turn of the loop, if it is a load of what nobody writes.
LoadOp loadedHere(Value tile, ForOp loop) {
  auto load = tile.getDefiningOp<LoadOp>();
  return load && load->getBlock() == &loop.getBody().front() && isReadOnly(load) ? load : LoadOp();
}

/// What the length of a loaded view's rows is a multiple of.
int64_t promisedLength(KernelOp kernel, LoadOp load) {
  const llvm::ArrayRef<int64_t> extents = kernel.view(load.getView()).getExtents();
  return extents.size() < load.getOffsets().size() ? 1 : std::max<int64_t>(1, extents.back());
}

std::optional<RowProduct> match(KernelOp kernel, ForOp loop, size_t carried,
                                const SimtTarget& target) {
  if (matchMatrixLoop(loop, target)) return std::nullopt;
  const auto product = carriedProduct(loop, carried);
  if (!product || !loop.yielded()[carried].hasOneUse() || !product->dot->getOperand(2).hasOneUse())
    return std::nullopt;
  RowProduct found;
  found.loop = loop;
  found.carried = carried;
  found.dot = product->dot;
  found.a = loadedHere(product->a, loop);
  found.b = loadedHere(product->b, loop);
  if (product->aScale) found.aScale = loadedHere(product->aScale, loop);
  if (product->bScale) found.bScale = loadedHere(product->bScale, loop);
  if (!found.a || !found.b || (product->aScale && !found.aScale) ||
      (product->bScale && !found.bScale))
    return std::nullopt;
  const TileShape a = shapeOf(found.a), b = shapeOf(found.b);
  if (a[0] > kMostRows || a[0] * b[0] > kMostSums) return std::nullopt;
  // One access to the narrowest operand, and never more than the elements of one scale.
  int narrowest = 32;
  found.chunk = a[1];
  for (LoadOp load : {found.a, found.b})
    narrowest = std::min(narrowest, static_cast<int>(bits(tile::dtypeOf(load.getResult()))));
  for (LoadOp scale : {found.aScale, found.bScale})
    if (scale) found.chunk = std::min(found.chunk, a[1] / shapeOf(scale)[1]);
  found.chunk = std::min(found.chunk, std::max<int64_t>(1, 8 * target.widestBytes / narrowest));
  // Rows of any length are read element by element.
  if (target.choosesByStrides)
    for (LoadOp load : {found.a, found.b})
      found.chunk = std::min(found.chunk, promisedLength(kernel, load));
  return found;
}

class Rewriter {
 public:
  Rewriter(RowProduct product, mlir::OpBuilder& builder)
      : p_(std::move(product)), b_(builder), loc_(product.dot->getLoc()) {}

  /// Replaces the loop by one that carries partial sums.
  void run() {
    const TileShape a = shapeOf(p_.a), w = shapeOf(p_.b);
    rows_ = a[0], columns_ = w[0], k_ = a[1];
    const auto sums = static_cast<size_t>(rows_ * columns_);
    b_.setInsertionPoint(p_.loop);
    const Value zero =
        ConstantOp::create(b_, loc_, type(DType::f32, {k_ / p_.chunk}), b_.getI64IntegerAttr(0));
    SmallVector<Value> inits(p_.loop.getInits().begin(), p_.loop.getInits().end());
    const Value first = inits[p_.carried];
    inits.erase(inits.begin() + p_.carried);
    const size_t others = inits.size();
    inits.append(sums, zero);
    auto loop = ForOp::create(b_, p_.loop.getLoc(), mlir::TypeRange(mlir::ValueRange(inits)),
                              p_.loop.getLo(), p_.loop.getHi(), p_.loop.getStep(), inits);
    mlir::Block& from = p_.loop.getBody().front();
    mlir::Block* to = b_.createBlock(&loop.getBody());
    to->addArgument(from.getArgument(0).getType(), loc_);
    for (Value init : inits) to->addArgument(init.getType(), loc_);

    mlir::IRMapping map;
    map.map(from.getArgument(0), to->getArgument(0));
    for (size_t i = 0, next = 1; i < from.getNumArguments() - 1; ++i)
      if (i != p_.carried) map.map(from.getArgument(i + 1), to->getArgument(next++));
    b_.setInsertionPointToEnd(to);
    const auto sumsSoFar = to->getArguments().drop_front(1 + others);
    SmallVector<Value> partial(sumsSoFar.begin(), sumsSoFar.end());
    for (Operation& op : from.without_terminator()) {
      if (&op == p_.dot)
        multiply(map, partial);
      else
        b_.clone(op, map);
    }
    SmallVector<Value> yields;
    for (auto [i, value] : llvm::enumerate(p_.loop.yielded()))
      if (i != p_.carried) yields.push_back(map.lookupOrDefault(value));
    llvm::append_range(yields, partial);
    YieldOp::create(b_, loc_, yields);

    b_.setInsertionPointAfter(loop);
    const Value total = add(first, sum(loop.getResults().drop_front(others)));
    size_t next = 0;
    for (auto [i, result] : llvm::enumerate(p_.loop.getResults()))
      result.replaceAllUsesWith(i == p_.carried ? total : Value(loop.getResult(next++)));
    p_.loop.erase();
  }

 private:
  mlir::RankedTensorType type(DType dtype, TileShape shape) {
    return tile::tensorType(b_.getContext(), {dtype, shape});
  }
  Value reshape(Value x, TileShape shape) {
    return ReshapeOp::create(b_, loc_, type(tile::dtypeOf(x), shape), x);
  }
  Value toF32(Value x) {
    if (tile::dtypeOf(x) == DType::f32) return x;
    return CastOp::create(b_, loc_, type(DType::f32, shapeOf(x)), x);
  }
  Value add(Value x, Value y) { return AddOp::create(b_, loc_, x.getType(), x, y); }

  /// Row `row` of a loaded matrix, by a load of its own: [1, columns].
  Value rowOf(mlir::IRMapping& map, LoadOp load, int64_t row) {
    SmallVector<Value> offsets, overrides;
    for (Value offset : load.getOffsets()) offsets.push_back(map.lookupOrDefault(offset));
    for (Value bound : load.getOverrides()) overrides.push_back(map.lookupOrDefault(bound));
    if (row != 0) {
      Value& offset = offsets[offsets.size() - 2];
      const Value more = ConstantOp::create(b_, loc_, offset.getType(), b_.getI64IntegerAttr(row));
      offset = add(offset, more);
    }
    const Value result = load.getResult();
    return LoadOp::create(b_, loc_, type(tile::dtypeOf(result), {1, shapeOf(result)[1]}),
                          load.getViewAttr(), load.getOverriddenAttr(), load.getFillAttr(), offsets,
                          overrides);
  }

  /// f32 [K / chunk, chunk] of a row.
  Value chunksOf(mlir::IRMapping& map, LoadOp load, int64_t row) {
    return reshape(toF32(rowOf(map, load, row)), {k_ / p_.chunk, p_.chunk});
  }

  /// The scales of a row, one a chunk: f32 [K / chunk].
  Value scalesOf(mlir::IRMapping& map, LoadOp scale, int64_t row, int64_t rows) {
    const TileShape shape = shapeOf(scale);
    const Value line = toF32(rowOf(map, scale, row / (rows / shape[0])));
    const int64_t groups = shape[1], chunks = k_ / p_.chunk;
    if (groups == chunks) return reshape(line, {chunks});
    const Value stretched = BroadcastOp::create(
        b_, loc_, type(DType::f32, {groups, chunks / groups}), reshape(line, {groups, 1}));
    return reshape(stretched, {chunks});
  }

  /// Element j of each chunk: f32 [K / chunk].
  Value elementOf(Value chunks, int64_t j) {
    const int64_t count = shapeOf(chunks)[0];
    if (p_.chunk == 1) return reshape(chunks, {count});
    const Value column = SliceOp::create(b_, loc_, type(DType::f32, {count, 1}),
                                         b_.getI64IntegerAttr(1), b_.getI64IntegerAttr(j), chunks);
    return reshape(column, {count});
  }

  void multiply(mlir::IRMapping& map, SmallVector<Value>& partial) {
    SmallVector<Value> a, w, aScale, bScale;
    for (int64_t m = 0; m < rows_; ++m) {
      a.push_back(chunksOf(map, p_.a, m));
      if (p_.aScale) aScale.push_back(scalesOf(map, p_.aScale, m, rows_));
    }
    for (int64_t n = 0; n < columns_; ++n) {
      w.push_back(chunksOf(map, p_.b, n));
      if (p_.bScale) bScale.push_back(scalesOf(map, p_.bScale, n, columns_));
    }
    const bool scaled = p_.aScale || p_.bScale;
    for (int64_t m = 0; m < rows_; ++m)
      for (int64_t n = 0; n < columns_; ++n) {
        Value& total = partial[static_cast<size_t>(m * columns_ + n)];
        Value sum = scaled ? Value() : total;
        for (int64_t j = 0; j < p_.chunk; ++j) {
          const Value x = elementOf(a[m], j), y = elementOf(w[n], j);
          sum = sum ? Value(FmaOp::create(b_, loc_, total.getType(), x, y, sum))
                    : Value(MulOp::create(b_, loc_, total.getType(), x, y));
        }
        if (scaled) {
          Value scale = p_.aScale ? aScale[m] : bScale[n];
          if (p_.aScale && p_.bScale)
            scale = MulOp::create(b_, loc_, total.getType(), aScale[m], bScale[n]);
          sum = FmaOp::create(b_, loc_, total.getType(), sum, scale, total);
        }
        total = sum;
      }
  }

  /// The partial sums [K / chunk] of each row and column added up: [rows, columns].
  Value sum(mlir::ValueRange partial) {
    const int64_t chunks = k_ / p_.chunk;
    SmallVector<Value> parts;
    for (Value part : partial) parts.push_back(reshape(part, {chunks, 1}));
    while (parts.size() > 1) {
      SmallVector<Value> joined;
      for (size_t i = 0; i < parts.size(); i += 2) {
        const int64_t width = shapeOf(parts[i])[1];
        joined.push_back(ConcatOp::create(b_, loc_, type(DType::f32, {chunks, 2 * width}),
                                          b_.getI64IntegerAttr(1), parts[i], parts[i + 1]));
      }
      parts = std::move(joined);
    }
    const Value total =
        ReduceOp::create(b_, loc_, type(DType::f32, {1, rows_ * columns_}), b_.getI64IntegerAttr(0),
                         ReductionAttr::get(b_.getContext(), Reduction::sum), parts[0]);
    return reshape(total, {rows_, columns_});
  }

  RowProduct p_;
  mlir::OpBuilder& b_;
  const mlir::Location loc_;
  int64_t rows_ = 0, columns_ = 0, k_ = 0;
};

struct RowProductsPass : mlir::PassWrapper<RowProductsPass, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(RowProductsPass)
  explicit RowProductsPass(const SimtTarget& target) : target_(target) {}

  llvm::StringRef getArgument() const override { return "tile-row-products"; }
  llvm::StringRef getDescription() const override {
    return "products of few rows as sums of elementwise products";
  }

  void runOnOperation() override {
    getOperation().walk([this](KernelOp kernel) {
      while (rewriteOne(kernel)) {}
    });
  }

  bool rewriteOne(KernelOp kernel) const {
    std::optional<RowProduct> found;
    kernel->walk([&](ForOp loop) {
      for (size_t i = 0; i < loop.getInits().size() && !found; ++i)
        found = match(kernel, loop, i, target_);
      return found ? mlir::WalkResult::interrupt() : mlir::WalkResult::advance();
    });
    if (!found) return false;
    mlir::OpBuilder builder(found->loop);
    Rewriter(*found, builder).run();
    return true;
  }

  SimtTarget target_;
};

}  // namespace

std::unique_ptr<mlir::Pass> createRowProductsPass(const SimtTarget& target) {
  return std::make_unique<RowProductsPass>(target);
}

}  // namespace tessera::compiler::simt
