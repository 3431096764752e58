// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/hopper.h"

#include <fmt/format.h>

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/simt/inline_ptx.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace LLVM = mlir::LLVM;
using mlir::Location;
using mlir::Value;

namespace {

Value number(mlir::OpBuilder& builder, Location loc, mlir::Type type, int64_t value) {
  return arith::ConstantOp::create(builder, loc, builder.getIntegerAttr(type, value));
}

/// Barriers of the turns, behind those of workgroups and of roles; threads that meet at them.
constexpr int64_t kFirstTurn = 2, kInTurn = 256;

const std::string kBf16 = "k16.f32.bf16.bf16";

std::string nameOf(Hopper::Types types) {
  switch (types) {
    case Hopper::Types::kBf16: return kBf16;
    case Hopper::Types::kE4m3: return "k32.f32.e4m3.e4m3";
    case Hopper::Types::kE4m3ByE5m2: return "k32.f32.e4m3.e5m2";
    case Hopper::Types::kE5m2ByE4m3: return "k32.f32.e5m2.e4m3";
  }
  TESSERA_UNREACHABLE("types {}", static_cast<int>(types));
}

LLVM::InlineAsmOp assembly(mlir::OpBuilder& builder, Location loc, mlir::Type result,
                           const std::string& text, const std::string& constraints,
                           mlir::ValueRange operands) {
  return inlinePtx(builder, loc, result, text, constraints, operands, Effects::kSome);
}

}  // namespace

void Hopper::statement(Location loc, const std::string& text, const std::string& constraints,
                       mlir::ValueRange operands) {
  assembly(builder_, loc, LLVM::LLVMVoidType::get(builder_.getContext()), text,
           constraints + (constraints.empty() ? "" : ",") + "~{memory}", operands);
}

/// The statement where the condition (i1; null: always) holds.
void Hopper::conditional(Location loc, const std::string& text, std::string constraints,
                         llvm::SmallVector<Value> operands, Value condition) {
  if (!condition) return statement(loc, text, constraints, operands);
  const auto wanted = operands.size();
  operands.push_back(arith::ExtUIOp::create(builder_, loc, builder_.getI32Type(), condition));
  statement(
      loc,
      fmt::format("{{\n\t.reg .pred wanted;\n\tsetp.ne.b32 wanted, ${}, 0;\n\t@wanted {}\n\t}}",
                  wanted, text),
      constraints + ",r", operands);
}

void Hopper::copyAsync(Location loc, Value to, Value from, Value inside, int64_t bytes) {
  const mlir::Type i32 = builder_.getI32Type();
  const Value all = number(builder_, loc, i32, bytes);
  const Value read =
      inside ? arith::SelectOp::create(builder_, loc, inside, all, number(builder_, loc, i32, 0))
             : all;
  statement(loc,
            fmt::format("cp.async.{}.shared.global [$0], [$1], {}, $2;", bytes == 16 ? "cg" : "ca",
                        bytes),
            "r,l,r", {to, from, read});
}

void Hopper::commitCopies(Location loc) { statement(loc, "cp.async.commit_group;", "", {}); }

void Hopper::waitForCopies(Location loc, int pending) {
  statement(loc, fmt::format("cp.async.wait_group {};", pending), "", {});
}

void Hopper::expectCopies(Location loc, Value barrier) {
  statement(loc, "cp.async.mbarrier.arrive.shared::cta.b64 [$0];", "r", {barrier});
}

void Hopper::copyBox(Location loc, Value map, mlir::ValueRange from, Value to, Value barrier,
                     Value condition) {
  llvm::SmallVector<Value> operands = {to, map, barrier};
  std::string constraints = "r,l,r", coordinates;
  for (Value coordinate : from) {
    coordinates += fmt::format("{}${}", coordinates.empty() ? "" : ", ", operands.size());
    constraints += ",r";
    operands.push_back(coordinate);
  }
  conditional(loc,
              fmt::format("cp.async.bulk.tensor.{}d.shared::cluster.global.mbarrier::complete_tx"
                          "::bytes [$0], [$1, {{{}}}], [$2];",
                          from.size(), coordinates),
              constraints, std::move(operands), condition);
}

void Hopper::expectBytes(Location loc, Value barrier, int64_t bytes, Value condition) {
  conditional(loc, "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [$0], $1;", "r,r",
              {barrier, number(builder_, loc, builder_.getI32Type(), bytes)}, condition);
}

void Hopper::meetWarp(Location loc) { statement(loc, "bar.warp.sync 0xffffffff;", "", {}); }

void Hopper::haveRegisters(Location loc, Registers change, int count) {
  statement(loc,
            fmt::format("setmaxnreg.{}.sync.aligned.u32 {};",
                        change == Registers::kMore ? "inc" : "dec", count),
            "", {});
}

void Hopper::storeWords(Location loc, mlir::ValueRange words, Value to) {
  llvm::SmallVector<Value> operands = {to};
  llvm::append_range(operands, words);
  if (words.size() == 1) {
    const bool half = words[0].getType().isInteger(16);
    statement(loc, half ? "st.shared.b16 [$0], $1;" : "st.shared.b32 [$0], $1;",
              half ? "r,h" : "r,r", operands);
  } else if (words.size() == 2) {
    statement(loc, "st.shared.v2.b32 [$0], {$1, $2};", "r,r,r", operands);
  } else {
    statement(loc, "st.shared.v4.b32 [$0], {$1, $2, $3, $4};", "r,r,r,r,r", operands);
  }
}

llvm::SmallVector<Value> Hopper::loadWords(Location loc, Value from, int64_t count) {
  const mlir::Type i32 = builder_.getI32Type();
  if (count == 1)
    return assembly(builder_, loc, i32, "ld.shared.b32 $0, [$1];", "=r,r,~{memory}", {from})
        .getResults();
  const auto type = LLVM::LLVMStructType::getLiteral(
      builder_.getContext(), llvm::SmallVector<mlir::Type>(static_cast<size_t>(count), i32));
  const std::string text =
      count == 2 ? "ld.shared.v2.b32 {$0, $1}, [$2];" : "ld.shared.v4.b32 {$0, $1, $2, $3}, [$4];";
  const Value all = assembly(builder_, loc, type, text,
                             count == 2 ? "=r,=r,r,~{memory}" : "=r,=r,=r,=r,r,~{memory}", {from})
                        .getResult(0);
  llvm::SmallVector<Value> words;
  for (int64_t i = 0; i < count; ++i)
    words.push_back(LLVM::ExtractValueOp::create(builder_, loc, all, llvm::ArrayRef<int64_t>{i}));
  return words;
}

llvm::SmallVector<Value> Hopper::loadWordsOfWarp(Location loc, int64_t count, Value from,
                                                 Value reads) {
  const auto type = LLVM::LLVMStructType::getLiteral(
      builder_.getContext(),
      llvm::SmallVector<mlir::Type>(static_cast<size_t>(count), builder_.getI32Type()));
  std::string registers, zeros, constraints;
  for (int64_t i = 0; i < count; ++i) {
    registers += fmt::format("{}${}", i == 0 ? "" : ", ", i);
    zeros += fmt::format("mov.b32 ${}, 0;\n\t", i);
    constraints += "=&r,";
  }
  const std::string text = fmt::format(
      "{{\n\t.reg .pred reads;\n\tsetp.ne.b32 reads, ${1}, 0;\n\t{2}"
      "@reads ld.shared.v{0}.b32 {{{3}}}, [${0}];\n\t}}",
      count, count + 1, zeros, registers);
  const Value wanted = arith::ExtUIOp::create(builder_, loc, builder_.getI32Type(), reads);
  const Value all =
      assembly(builder_, loc, type, text, constraints + "r,r,~{memory}", {from, wanted})
          .getResult(0);
  llvm::SmallVector<Value> words;
  for (int64_t i = 0; i < count; ++i)
    words.push_back(
        uniform(loc, LLVM::ExtractValueOp::create(builder_, loc, all, llvm::ArrayRef<int64_t>{i})));
  return words;
}

void Hopper::storeWord(Location loc, Value word, Value to, Value condition) {
  conditional(loc, "st.shared.b32 [$0], $1;", "r,r", {to, word}, condition);
}

void Hopper::showToMatrixUnit(Location loc) {
  statement(loc, "fence.proxy.async.shared::cta;", "", {});
}

void Hopper::initialise(Location loc, Value barrier, int64_t arrivals) {
  statement(loc, "mbarrier.init.shared::cta.b64 [$0], $1;", "r,r",
            {barrier, number(builder_, loc, builder_.getI32Type(), arrivals)});
}

void Hopper::arrive(Location loc, Value barrier, Value condition) {
  conditional(loc, "mbarrier.arrive.shared::cta.b64 _, [$0];", "r", {barrier}, condition);
}

void Hopper::wait(Location loc, Value barrier, Value parity) {
  statement(loc,
            "{\n\t.reg .pred done;\nagain${:uid}:\n\t"
            "mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1;\n\t"
            "@!done bra again${:uid};\n\t}",
            "r,r", {barrier, parity});
}

Value Hopper::uniform(Location loc, Value value) {
  const mlir::Type i32 = builder_.getI32Type();
  return LLVM::CallIntrinsicOp::create(
             builder_, loc, i32, builder_.getStringAttr("llvm.nvvm.shfl.sync.idx.i32"),
             mlir::ValueRange{number(builder_, loc, i32, -1), value, number(builder_, loc, i32, 0),
                              number(builder_, loc, i32, 31)})
      .getResult(0);
}

Value Hopper::warpgroup(Location loc, Value thread) {
  return uniform(loc, arith::ShRUIOp::create(builder_, loc, thread,
                                             number(builder_, loc, builder_.getI32Type(), 7)));
}

Value Hopper::descriptor(Location loc, Value address) {
  // Leading byte offset 1 (not used), stride of 8 rows 1024 / 16, layout: 128-byte swizzle.
  constexpr int64_t kForm = int64_t{1} << 62 | int64_t{64} << 32 | int64_t{1} << 16;
  const mlir::Type i32 = builder_.getI32Type(), i64 = builder_.getI64Type();
  const Value units = arith::ShRUIOp::create(builder_, loc, address, number(builder_, loc, i32, 4));
  return arith::OrIOp::create(builder_, loc, arith::ExtUIOp::create(builder_, loc, i64, units),
                              number(builder_, loc, i64, kForm));
}

Value Hopper::turnedDescriptor(Location loc, Value address, int64_t panelBytes) {
  // Leading byte offset: from panel to panel; stride: of 8 rows, 1024 / 16.
  const int64_t form = int64_t{1} << 62 | int64_t{64} << 32 | panelBytes / 16 << 16;
  const mlir::Type i32 = builder_.getI32Type(), i64 = builder_.getI64Type();
  const Value units = arith::ShRUIOp::create(builder_, loc, address, number(builder_, loc, i32, 4));
  return arith::OrIOp::create(builder_, loc, arith::ExtUIOp::create(builder_, loc, i64, units),
                              number(builder_, loc, i64, form));
}

/// An asm whose results take the registers of `sums`: nothing can move across it that reads them.
Hopper::Sums Hopper::tied(Location loc, const std::string& text, Sums sums, mlir::ValueRange more,
                          const std::string& moreConstraints) {
  const auto count = static_cast<int64_t>(sums.size());
  std::string constraints;
  for (int64_t i = 0; i < count; ++i) constraints += "=f,";
  llvm::SmallVector<Value> operands;
  for (int64_t i = 0; i < count; ++i) {
    constraints += fmt::format("{},", i);
    operands.push_back(sums[i]);
  }
  constraints += moreConstraints;
  if (moreConstraints.empty()) constraints.pop_back();
  llvm::append_range(operands, more);
  const auto result = LLVM::LLVMStructType::getLiteral(
      builder_.getContext(), llvm::SmallVector<mlir::Type>(sums.size(), builder_.getF32Type()));
  const Value all = assembly(builder_, loc, result, text, constraints, operands).getResult(0);
  for (int64_t i = 0; i < count; ++i)
    sums[i] = LLVM::ExtractValueOp::create(builder_, loc, all, llvm::ArrayRef<int64_t>{i});
  return sums;
}

Hopper::Order Hopper::order(Location loc, Value warpgroup) {
  const mlir::Type i32 = builder_.getI32Type();
  return {
      arith::AddIOp::create(builder_, loc, number(builder_, loc, i32, kFirstTurn), warpgroup),
      arith::SubIOp::create(builder_, loc, number(builder_, loc, i32, kFirstTurn + 1), warpgroup)};
}

void Hopper::passTurn(Location loc, const Order& order, Value condition) {
  conditional(loc, fmt::format("bar.arrive $0, {};", kInTurn), "r", {order.other}, condition);
}

/// Products of `pairs` pairs of swizzled rows whose descriptors are operands from `firstOperand`
/// on, as one group that has ended. Unless it `adds`, the first product replaces the sums.
/// `inTurn`: the barriers follow the descriptors; the other warpgroup's turn comes when all is
/// under way.
std::string Hopper::steps(int64_t n, const std::string& types, int64_t sums, int64_t firstOperand,
                          int64_t pairs, bool adds, bool inTurn) {
  std::string registers;
  for (int64_t i = 0; i < sums; ++i) registers += fmt::format("{}${}", i == 0 ? "" : ",", i);
  std::string text = fmt::format(
      "{{\n\t.reg .b64 a<{0}>, b<{0}>;\n\t.reg .pred add, first;\n\tsetp.eq.b32 add, 0, 0;\n\t"
      "setp.{1}.b32 first, 0, 0;\n\t",
      kSteps * pairs, adds ? "eq" : "ne");
  const int64_t barriers = firstOperand + 2 * pairs;
  if (inTurn) text += fmt::format("bar.sync ${}, {};\n\t", barriers, kInTurn);
  text += "wgmma.fence.sync.aligned;\n\t";
  for (int64_t step = 0; step < kSteps * pairs; ++step) {
    const int64_t a = firstOperand + 2 * (step / kSteps);
    text += fmt::format(
        "add.s64 a{0}, ${1}, {3};\n\tadd.s64 b{0}, ${2}, {3};\n\t"
        "wgmma.mma_async.sync.aligned.m64n{4}{5} {{{6}}}, a{0}, b{0}, {7}, 1, 1{8};\n\t",
        step, a, a + 1, 2 * (step % kSteps), n, types, registers, step == 0 ? "first" : "add",
        types == kBf16 ? ", 0, 0" : "");
  }
  text += "wgmma.commit_group.sync.aligned;\n\t";
  if (inTurn) text += fmt::format("bar.arrive ${}, {};\n\t", barriers + 1, kInTurn);
  return text + "wgmma.wait_group.sync.aligned 0;\n\t}";
}

Hopper::Sums Hopper::multiply(Location loc, int64_t n, mlir::ValueRange a, mlir::ValueRange b,
                              Sums sums) {
  const auto count = static_cast<int64_t>(sums.size()), pairs = static_cast<int64_t>(a.size());
  std::string more;
  llvm::SmallVector<Value> descriptors;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    descriptors.append({a[pair], b[pair]});
    more += "l,l,";
  }
  return tied(loc, steps(n, kBf16, count, 2 * count, pairs, /*adds=*/true), std::move(sums),
              descriptors, more + "~{memory}");
}

/// An asm that gives `count` sums.
Hopper::Sums Hopper::fresh(Location loc, const std::string& text, int64_t count,
                           mlir::ValueRange operands, const std::string& moreConstraints) {
  std::string constraints;
  for (int64_t i = 0; i < count; ++i) constraints += "=f,";
  const auto type = LLVM::LLVMStructType::getLiteral(
      builder_.getContext(),
      llvm::SmallVector<mlir::Type>(static_cast<size_t>(count), builder_.getF32Type()));
  const Value all =
      assembly(builder_, loc, type, text, constraints + moreConstraints, operands).getResult(0);
  Sums sums;
  for (int64_t i = 0; i < count; ++i)
    sums.push_back(LLVM::ExtractValueOp::create(builder_, loc, all, llvm::ArrayRef<int64_t>{i}));
  return sums;
}

Hopper::Sums Hopper::product(Location loc, int64_t n, Types types, mlir::ValueRange a,
                             mlir::ValueRange b, const std::optional<Order>& order) {
  const auto count = n / 2, pairs = static_cast<int64_t>(a.size());
  std::string constraints;
  llvm::SmallVector<Value> operands;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    operands.append({a[pair], b[pair]});
    constraints += "l,l,";
  }
  if (order) {
    operands.append({order->own, order->other});
    constraints += "r,r,";
  }
  return fresh(loc, steps(n, nameOf(types), count, count, pairs, /*adds=*/false, order.has_value()),
               count, operands, constraints + "~{memory}");
}

Hopper::Sums Hopper::begin(Location loc, int64_t n, const Operand& a, const Operand& b, bool turned,
                           Sums sums) {
  const bool adds = !sums.empty();
  const int64_t count = n / 2, first = adds ? 2 * count : count;
  std::string registers;
  for (int64_t i = 0; i < count; ++i) registers += fmt::format("{}${}", i == 0 ? "" : ",", i);
  std::string text = fmt::format(
      "{{\n\t.reg .b64 a, b;\n\t.reg .pred add, first;\n\tsetp.eq.b32 add, 0, 0;\n\t"
      "setp.{}.b32 first, 0, 0;\n\twgmma.fence.sync.aligned;\n\t",
      adds ? "eq" : "ne");
  for (size_t i = 0; i < a.steps.size(); ++i)
    text += fmt::format(
        "add.s64 a, ${0}, {2};\n\tadd.s64 b, ${1}, {3};\n\t"
        "wgmma.mma_async.sync.aligned.m64n{4}k16.f32.bf16.bf16 {{{5}}}, a, b, {7}, 1, 1, 0, {6};"
        "\n\t",
        first, first + 1, a.steps[i], b.steps[i], n, registers, turned ? 1 : 0,
        i == 0 ? "first" : "add");
  text += "wgmma.commit_group.sync.aligned;\n\t}";
  const Value operands[] = {a.descriptor, b.descriptor};
  return adds ? tied(loc, text, std::move(sums), operands, "l,l,~{memory}")
              : fresh(loc, text, count, operands, "l,l,~{memory}");
}

Hopper::Sums Hopper::finish(Location loc, Sums sums, int64_t later) {
  return tied(loc, fmt::format("wgmma.wait_group.sync.aligned {};", later), std::move(sums), {},
              "~{memory}");
}

}  // namespace tessera::compiler::simt
