// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/divisibility.h"

#include <algorithm>

#include "llvm/ADT/TypeSwitch.h"

namespace tessera::compiler::simt {

using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kMost = 128;

int64_t powerIn(int64_t value) { return value == 0 ? kMost : std::min(kMost, value & -value); }

/// The loop whose counter this is.
ForOp loopOf(Value value) {
  auto argument = llvm::dyn_cast<mlir::BlockArgument>(value);
  if (!argument || argument.getArgNumber() != 0) return {};
  return llvm::dyn_cast<ForOp>(argument.getOwner()->getParentOp());
}

std::optional<int64_t> constantOf(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant || !isScalar(value)) return std::nullopt;
  return static_cast<int64_t>(constant.getValue());
}

}  // namespace

int64_t divisorOf(KernelOp kernel, Value scalar) {
  const auto of = [&](Value value) { return divisorOf(kernel, value); };
  if (ForOp loop = loopOf(scalar)) return std::min(of(loop.getLo()), of(loop.getStep()));
  Operation* op = scalar.getDefiningOp();
  if (op == nullptr) return 1;
  return llvm::TypeSwitch<Operation*, int64_t>(op)
      .Case<ConstantOp>([](ConstantOp c) { return powerIn(static_cast<int64_t>(c.getValue())); })
      .Case<MulOp>([&](MulOp m) { return std::min(kMost, of(m.getA()) * of(m.getB())); })
      .Case<AddOp, SubOp, MinOp, MaxOp>(
          [&](auto o) { return std::min(of(o.getA()), of(o.getB())); })
      .Case<SelectOp>([&](SelectOp s) { return std::min(of(s.getB()), of(s.getC())); })
      .Case<CastOp, ReshapeOp, BroadcastOp>([&](auto o) { return of(o.getX()); })
      .Case<DivOp>([&](DivOp d) -> int64_t {
        const auto by = constantOf(d.getB());
        return by && *by > 0 && powerIn(*by) == *by ? std::max<int64_t>(1, of(d.getA()) / *by) : 1;
      })
      .Case<ExtentOp>([&](ExtentOp e) -> int64_t {
        const auto divisors = kernel.view(e.getView()).getExtents();
        const auto d = static_cast<size_t>(e.getDim());
        return d < divisors.size() ? std::max<int64_t>(1, divisors[d]) : 1;
      })
      .Default([](Operation*) { return 1; });
}

bool isNotNegative(Value scalar) {
  if (ForOp loop = loopOf(scalar)) return isNotNegative(loop.getLo());
  Operation* op = scalar.getDefiningOp();
  if (op == nullptr) return false;
  return llvm::TypeSwitch<Operation*, bool>(op)
      .Case<ConstantOp>([](ConstantOp c) { return static_cast<int64_t>(c.getValue()) >= 0; })
      .Case<ProgramIdOp, NumProgramsOp, ExtentOp>([](Operation*) { return true; })
      .Case<AddOp, MulOp, DivOp, MinOp>(
          [](auto o) { return isNotNegative(o.getA()) && isNotNegative(o.getB()); })
      .Case<MaxOp>([](MaxOp m) { return isNotNegative(m.getA()) || isNotNegative(m.getB()); })
      .Case<RemOp>([](RemOp r) { return isNotNegative(r.getA()); })
      .Default([](Operation*) { return false; });
}

}  // namespace tessera::compiler::simt
