// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/ranges.h"

#include <algorithm>
#include <numeric>

#include "llvm/ADT/TypeSwitch.h"
#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::cpu {

using mlir::Value;

namespace {

constexpr int64_t kLargest = int64_t{1} << 20;
constexpr int kMaxDepth = 16;

int64_t powerIn(int64_t number) {
  return number == 0 ? kLargest : std::min(kLargest, number & -number);
}

tile::ForOp loopOf(Value value) {
  const auto argument = llvm::dyn_cast<mlir::BlockArgument>(value);
  if (!argument || argument.getArgNumber() != 0) return {};
  return llvm::dyn_cast<tile::ForOp>(argument.getOwner()->getParentOp());
}

bool nonNegative(Value value, int depth) {
  if (depth > kMaxDepth) return false;
  const auto both = [&](auto op) {
    return nonNegative(op.getA(), depth + 1) && nonNegative(op.getB(), depth + 1);
  };
  if (tile::ForOp loop = loopOf(value)) return nonNegative(loop.getLo(), depth + 1);
  mlir::Operation* op = value.getDefiningOp();
  if (op == nullptr) return false;
  return llvm::TypeSwitch<mlir::Operation*, bool>(op)
      .Case<tile::ProgramIdOp, tile::NumProgramsOp, tile::ExtentOp>([](auto) { return true; })
      .Case([](tile::ConstantOp c) { return static_cast<int64_t>(c.getValue()) >= 0; })
      .Case<tile::AddOp, tile::MulOp, tile::DivOp, tile::RemOp, tile::MinOp>(both)
      .Case([&](tile::MaxOp m) {
        return nonNegative(m.getA(), depth + 1) || nonNegative(m.getB(), depth + 1);
      })
      .Default(false);
}

int64_t divisor(Value value, int depth) {
  if (depth > kMaxDepth) return 1;
  const auto of = [&](Value v) { return divisor(v, depth + 1); };
  if (tile::ForOp loop = loopOf(value)) return std::min(of(loop.getLo()), of(loop.getStep()));
  mlir::Operation* op = value.getDefiningOp();
  if (op == nullptr) return 1;
  return llvm::TypeSwitch<mlir::Operation*, int64_t>(op)
      .Case([](tile::ConstantOp c) { return powerIn(static_cast<int64_t>(c.getValue())); })
      .Case([](tile::ExtentOp e) {
        const auto view = e->getParentOfType<tile::KernelOp>().view(e.getView());
        return std::max<int64_t>(1, view.getExtents()[e.getDim()]);
      })
      .Case([](tile::ScalarArgOp s) {
        return std::max<int64_t>(
            1, s->getParentOfType<tile::KernelOp>().scalar(s.getIndex()).getDivisor());
      })
      .Case([&](tile::MulOp m) { return std::min(kLargest, of(m.getA()) * of(m.getB())); })
      .Case<tile::AddOp, tile::SubOp, tile::MinOp, tile::MaxOp>(
          [&](auto o) { return std::min(of(o.getA()), of(o.getB())); })
      .Default([](mlir::Operation*) { return int64_t{1}; });
}

/// bound <= extent for certain: it is the extent, or the smaller of that and something else.
bool isAtMost(Value bound, int64_t view, int64_t dim, Value extentOverride, int depth = 0) {
  if (depth > kMaxDepth) return false;
  if (extentOverride && bound == extentOverride) return true;
  if (auto smaller = bound.getDefiningOp<tile::MinOp>())
    return isAtMost(smaller.getA(), view, dim, extentOverride, depth + 1) ||
           isAtMost(smaller.getB(), view, dim, extentOverride, depth + 1);
  auto extent = bound.getDefiningOp<tile::ExtentOp>();
  return !extentOverride && extent && static_cast<int64_t>(extent.getView()) == view &&
         static_cast<int64_t>(extent.getDim()) == dim;
}

}  // namespace

bool isNonNegative(Value scalar) { return nonNegative(scalar, 0); }

int64_t divisorOf(Value scalar) { return divisor(scalar, 0); }

bool fitsBelow(Value offset, int64_t count, int64_t view, int64_t dim, Value extentOverride,
               int64_t extentDivisor) {
  tile::ForOp loop = loopOf(offset);
  if (!loop || !isAtMost(loop.getHi(), view, dim, extentOverride)) return false;
  if (extentOverride) extentDivisor = divisorOf(extentOverride);
  return divisorOf(offset) % count == 0 && extentDivisor % count == 0;
}

}  // namespace tessera::compiler::cpu
