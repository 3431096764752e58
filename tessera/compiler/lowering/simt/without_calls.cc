// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/without_calls.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"
#include "tessera/compiler/lowering/simt/correct_rounding.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using arith::CmpIPredicate;
using mlir::Value;

namespace {

bool isDivision64(mlir::Operation* op) {
  return llvm::isa<arith::DivUIOp, arith::RemUIOp>(op) &&
         op->getResult(0).getType().isInteger(64) &&
         !mlir::matchPattern(op->getOperand(1), mlir::m_Constant());
}

bool isDivisionF32(mlir::Operation* op) {
  return llvm::isa<arith::DivFOp>(op) && op->getResult(0).getType().isF32();
}

}  // namespace

/// By floats of 64 bits: the quotient is off by 2^11 at most, then by one.
Value wideQuotient(Emitter& e, Value a, Value b, Reciprocal approximate) {
  const mlir::Type f64 = e.builder.getF64Type();
  const auto toFloat = [&](Value x) -> Value {
    return e.builder.createOrFold<arith::SIToFPOp>(e.loc, f64, x);
  };
  const auto toInteger = [&](Value x) -> Value {
    return e.builder.createOrFold<arith::FPToSIOp>(e.loc, e.i64(), x);
  };
  const Value divisor = toFloat(b), one = e.constant(f64, 1.0);
  const Value negative = e.builder.createOrFold<arith::NegFOp>(e.loc, divisor);
  Value reciprocal = approximate(divisor);
  for (int step = 0; step < 2; ++step)
    reciprocal = e.fma(e.fma(negative, reciprocal, one), reciprocal, reciprocal);
  Value quotient = toInteger(e.mul(toFloat(a), reciprocal));
  Value rest = e.sub(a, e.mul(quotient, b));
  const Value more = toInteger(e.mul(toFloat(rest), reciprocal));
  quotient = e.add(quotient, more);
  rest = e.sub(rest, e.mul(more, b));
  const Value below = e.select(e.compare(CmpIPredicate::slt, rest, e.i64(0)), e.i64(-1), e.i64(0));
  const Value above = e.select(e.compare(CmpIPredicate::sge, rest, b), e.i64(1), below);
  return e.add(quotient, above);
}

namespace {

Value quotientOf64(Emitter& e, Value a, Value b) {
  const Value narrow = e.compare(CmpIPredicate::eq, e.shr(e.ori(a, b), 32), e.i64(0));
  auto either = scf::IfOp::create(e.builder, e.loc, mlir::TypeRange{e.i64()}, narrow,
                                  /*withElseRegion=*/true);
  const mlir::OpBuilder::InsertionGuard guard(e.builder);
  e.builder.setInsertionPointToEnd(either.thenBlock());
  const Value few =
      arith::DivUIOp::create(e.builder, e.loc, e.truncate(a, e.i32()), e.truncate(b, e.i32()));
  scf::YieldOp::create(e.builder, e.loc, e.zeroExtend(few, e.i64()));
  e.builder.setInsertionPointToEnd(either.elseBlock());
  scf::YieldOp::create(e.builder, e.loc, wideQuotient(e, a, b, [&](Value x) {
                         return e.intrinsic("llvm.nvvm.rcp.approx.ftz.d", x.getType(), {x});
                       }));
  return either.getResult(0);
}

}  // namespace

void divideWithoutCalls(mlir::LLVM::LLVMFuncOp function, const CpuTarget& target) {
  llvm::SmallVector<mlir::Operation*> all;
  function.walk([&](mlir::Operation* op) {
    if (isDivision64(op) || isDivisionF32(op)) all.push_back(op);
  });
  for (mlir::Operation* op : all) {
    mlir::OpBuilder builder(op);
    Emitter e(builder, op->getLoc(), target, &function.getBody().front());
    const Value a = op->getOperand(0), b = op->getOperand(1);
    Value result;
    if (isDivisionF32(op))
      result = roundedQuotient(e, a, b, [&](Value x, Value y) {
        return e.intrinsic("llvm.nvvm.div.full", e.f32(), {x, y});
      });
    else
      result = quotientOf64(e, a, b);
    if (llvm::isa<arith::RemUIOp>(op)) result = e.sub(a, e.mul(result, b));
    op->replaceAllUsesWith(mlir::ValueRange(result));
    op->erase();
  }
}

}  // namespace tessera::compiler::simt
