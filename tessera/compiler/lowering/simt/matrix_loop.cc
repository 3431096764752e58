// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/matrix_loop.h"

#include "llvm/Support/MathExtras.h"

namespace tessera::compiler::simt {

using lang::TileShape;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kRowBytes = 128;  // of K, one row of the swizzled tile
constexpr int64_t kMostColumns = 256;

TileShape shapeOf(Value tile) { return tile::tileType(tile.getType())->shape; }

}  // namespace

std::optional<MatrixLoop> matchMatrixLoop(ForOp loop, const SimtTarget& target) {
  if (target.matrix != MatrixUnit::kWgmma || loop.getInits().size() != 1) return std::nullopt;
  Operation* dot = loop.yielded()[0].getDefiningOp();
  if (!dot || !llvm::isa<DotOp, DotScaledOp>(dot) || dot->getBlock() != &loop.getBody().front() ||
      dot->getOperand(2) != loop.getBody().getArgument(1))
    return std::nullopt;
  MatrixLoop found;
  found.loop = loop;
  found.dot = dot;
  if (auto plain = llvm::dyn_cast<DotOp>(dot)) {
    if (plain.getBIsKn()) return std::nullopt;
  } else {
    found.aScale = llvm::cast<DotScaledOp>(dot).getAScale();
    found.bScale = llvm::cast<DotScaledOp>(dot).getBScale();
  }
  found.a = dot->getOperand(0).getDefiningOp<LoadOp>();
  found.b = dot->getOperand(1).getDefiningOp<LoadOp>();
  if (!found.a || !found.b) return std::nullopt;
  for (Operation& op : loop.getBody().front().without_terminator()) {
    const bool scalar = op.getNumResults() == 1 && isScalar(op.getResult(0));
    const bool scale = llvm::isa<LoadOp>(op) &&
                       (op.getResult(0) == found.aScale || op.getResult(0) == found.bScale);
    if (!scalar && !scale && &op != dot && &op != found.a && &op != found.b) return std::nullopt;
  }
  const TileShape a = shapeOf(found.a), b = shapeOf(found.b);
  found.m = a[0], found.n = b[0], found.k = a[1];
  found.dtype = tile::dtypeOf(found.a.getResult());
  const bool narrow = found.dtype == DType::bf16 || found.dtype == DType::f8e4m3;
  if (!narrow || tile::dtypeOf(found.b.getResult()) != found.dtype ||
      found.k * bits(found.dtype) / 8 != kRowBytes || (found.m != 64 && found.m != 128) ||
      found.n < 16 || found.n > kMostColumns)
    return std::nullopt;
  // One scale of b a turn, one of a a row.
  if (found.aScale && shapeOf(found.aScale)[1] != 1) return std::nullopt;
  if (found.bScale && shapeOf(found.bScale).numel() != 1) return std::nullopt;
  return found;
}

std::optional<MatrixLoop> matrixLoopOf(Operation* dot, const SimtTarget& target) {
  auto loop = llvm::dyn_cast<ForOp>(dot->getParentOp());
  if (!loop) return std::nullopt;
  auto found = matchMatrixLoop(loop, target);
  return found && found->dot == dot ? found : std::nullopt;
}

/// Of a warp's 16 rows and each 8 columns, lane l holds row l / 4 and row l / 4 + 8, columns
/// 2 (l mod 4) and one more.
Layout accumulatorLayout(const MatrixLoop& loop) {
  const int columns = static_cast<int>(llvm::Log2_64(loop.n));
  const auto row = [&](int bit) { return static_cast<int8_t>(columns + bit); };
  Layout layout;
  layout.threads = {1, 2, row(0), row(1), row(2), row(4), row(5)};
  for (int bit = 6; int64_t{1} << bit < loop.m; ++bit) layout.threads.push_back(row(bit));
  layout.registers = {0};
  for (int bit = 3; bit < columns; ++bit) layout.registers.push_back(static_cast<int8_t>(bit));
  layout.registers.push_back(row(3));
  return layout;
}

}  // namespace tessera::compiler::simt
