// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/lanes/emitter.h"

#include <cstring>

#include "llvm/ADT/Hashing.h"
#include "llvm/Support/xxhash.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Matchers.h"
#include "tessera/base/check.h"

namespace tessera::compiler {

namespace arith = mlir::arith;
namespace LLVM = mlir::LLVM;
namespace scf = mlir::scf;
namespace vector = mlir::vector;
using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Type;
using mlir::Value;
using mlir::ValueRange;
using mlir::VectorType;

namespace {

bool isFloat(Value value) { return llvm::isa<mlir::FloatType>(Emitter::elementOf(value)); }

template <class FloatOp, class IntOp>
Value arithmetic(Emitter& e, Value a, Value b) {
  return isFloat(a) ? e.builder.createOrFold<FloatOp>(e.loc, a, b)
                    : e.builder.createOrFold<IntOp>(e.loc, a, b);
}

}  // namespace

// ---- types ----

Type Emitter::pointer() { return LLVM::LLVMPointerType::get(builder.getContext()); }

Type Emitter::type(Type element, int64_t lanes) {
  return lanes == 1 ? element : VectorType::get({lanes}, element);
}

int64_t Emitter::lanesOf(Value value) {
  auto vector = llvm::dyn_cast<VectorType>(value.getType());
  return vector ? vector.getNumElements() : 1;
}

Type Emitter::elementOf(Value value) { return mlir::getElementTypeOrSelf(value.getType()); }

// ---- constants ----

Value Emitter::constant(Type type, double value) {
  const Type element = mlir::getElementTypeOrSelf(type);
  mlir::TypedAttr attribute = llvm::isa<mlir::FloatType>(element)
                                  ? mlir::TypedAttr(builder.getFloatAttr(element, value))
                                  : builder.getIntegerAttr(element, static_cast<int64_t>(value));
  if (auto vector = llvm::dyn_cast<VectorType>(type))
    attribute = mlir::DenseElementsAttr::get(vector, mlir::Attribute(attribute));
  return arith::ConstantOp::create(builder, loc, attribute);
}

Value Emitter::integer(Type type, int64_t value) {
  const auto element = llvm::cast<mlir::IntegerType>(mlir::getElementTypeOrSelf(type));
  const llvm::APInt bits(64, static_cast<uint64_t>(value), true);
  mlir::TypedAttr attribute = mlir::IntegerAttr::get(element, bits.trunc(element.getWidth()));
  if (auto vector = llvm::dyn_cast<VectorType>(type))
    attribute = mlir::DenseElementsAttr::get(vector, mlir::Attribute(attribute));
  return arith::ConstantOp::create(builder, loc, attribute);
}

Value Emitter::floatBits(Type type, uint32_t bits) {
  mlir::TypedAttr attribute = mlir::FloatAttr::get(
      builder.getF32Type(), llvm::APFloat(llvm::APFloat::IEEEsingle(), llvm::APInt(32, bits)));
  if (auto vector = llvm::dyn_cast<VectorType>(type))
    attribute = mlir::DenseElementsAttr::get(vector, mlir::Attribute(attribute));
  return arith::ConstantOp::create(builder, loc, attribute);
}

Value Emitter::integers(Type element, ArrayRef<int64_t> values) {
  if (values.size() == 1) return integer(element, values[0]);
  const unsigned width = element.getIntOrFloatBitWidth();
  SmallVector<llvm::APInt> numbers;
  for (int64_t value : values)
    numbers.push_back(llvm::APInt(64, static_cast<uint64_t>(value)).trunc(width));
  const auto type = VectorType::get({static_cast<int64_t>(values.size())}, element);
  return arith::ConstantOp::create(builder, loc, mlir::DenseElementsAttr::get(type, numbers));
}

Value Emitter::floats(ArrayRef<float> values) {
  if (values.size() == 1) return f32(values[0]);
  const auto type = VectorType::get({static_cast<int64_t>(values.size())}, builder.getF32Type());
  return arith::ConstantOp::create(builder, loc, mlir::DenseElementsAttr::get(type, values));
}

Value Emitter::table(ArrayRef<char> bytes) {
  auto module = entry_->getParentOp()->getParentOfType<mlir::ModuleOp>();
  const llvm::StringRef text(bytes.data(), bytes.size());
  const std::string name = "table_" + llvm::utohexstr(llvm::xxh3_64bits(text));
  if (!module.lookupSymbol(name)) {
    mlir::OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(module.getBody());
    const auto type = LLVM::LLVMArrayType::get(builder.getI8Type(), bytes.size());
    LLVM::GlobalOp::create(builder, loc, type, /*isConstant=*/true, LLVM::Linkage::Internal, name,
                           builder.getStringAttr(text), /*alignment=*/64);
  }
  return LLVM::AddressOfOp::create(builder, loc, LLVM::LLVMPointerType::get(builder.getContext()),
                                   name);
}

std::optional<int64_t> Emitter::asConstant(Value value) {
  llvm::APInt number;
  if (!llvm::isa<mlir::IntegerType>(value.getType()) ||
      !mlir::matchPattern(value, mlir::m_ConstantInt(&number)))
    return std::nullopt;
  return number.getSExtValue();
}

// ---- memory ----

Value Emitter::offset(Value base, int64_t bytes) {
  if (bytes == 0) return base;
  return LLVM::GEPOp::create(builder, loc, pointer(), i8(), base,
                             ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(bytes)});
}

Value Emitter::offset(Value base, Value bytes) {
  if (const auto known = asConstant(bytes); known && *known == static_cast<int32_t>(*known))
    return offset(base, *known);
  return LLVM::GEPOp::create(builder, loc, pointer(), i8(), base, ArrayRef<LLVM::GEPArg>{bytes});
}

Value Emitter::load(Type type, Value from, unsigned alignment) {
  return LLVM::LoadOp::create(builder, loc, type, from, alignment);
}

void Emitter::store(Value value, Value to, unsigned alignment, bool nonTemporal) {
  LLVM::StoreOp::create(builder, loc, value, to, alignment, /*isVolatile=*/false, nonTemporal);
}

Value Emitter::scratch(int64_t bytes) {
  // Small pieces become registers; shared ones would not.
  constexpr int64_t kShared = 4096;
  if (spare_ != nullptr && bytes >= kShared) {
    auto* fit = llvm::find_if(*spare_, [&](const auto& piece) { return piece.first == bytes; });
    if (fit != spare_->end()) {
      const Value memory = fit->second;
      spare_->erase(fit);
      return memory;
    }
  }
  scratchBytes_ += bytes;
  mlir::OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(entry_);
  // One array, not many bytes: LLVM's promotion to registers passes over the latter.
  const mlir::Type array = LLVM::LLVMArrayType::get(i8(), static_cast<uint64_t>(bytes));
  const Value memory =
      LLVM::AllocaOp::create(builder, loc, pointer(), array, i64(1), /*alignment=*/64);
  if (made_ != nullptr) made_->emplace_back(bytes, memory);
  return memory;
}

void Emitter::memcpy(Value to, Value from, Value bytes) {
  LLVM::MemcpyOp::create(builder, loc, to, from, bytes, /*isVolatile=*/false);
}

void Emitter::prefetch(Value address, int locality) {
  LLVM::Prefetch::create(builder, loc, address, /*rw=*/0, locality, /*cache=*/1);
}

// ---- arithmetic ----

Value Emitter::add(Value a, Value b) {
  return arithmetic<arith::AddFOp, arith::AddIOp>(*this, a, b);
}
Value Emitter::sub(Value a, Value b) {
  return arithmetic<arith::SubFOp, arith::SubIOp>(*this, a, b);
}
Value Emitter::mul(Value a, Value b) {
  return arithmetic<arith::MulFOp, arith::MulIOp>(*this, a, b);
}

Value Emitter::fma(Value a, Value b, Value c) {
  if (!target.hasFma) return add(mul(a, b), c);
  return mlir::math::FmaOp::create(builder, loc, a, b, c);
}

Value Emitter::andi(Value a, Value b) { return builder.createOrFold<arith::AndIOp>(loc, a, b); }
Value Emitter::ori(Value a, Value b) { return builder.createOrFold<arith::OrIOp>(loc, a, b); }
Value Emitter::xori(Value a, Value b) { return builder.createOrFold<arith::XOrIOp>(loc, a, b); }

Value Emitter::shl(Value a, int64_t bits) {
  return bits == 0 ? a : builder.createOrFold<arith::ShLIOp>(loc, a, integer(a.getType(), bits));
}
Value Emitter::shr(Value a, int64_t bits) {
  return bits == 0 ? a : builder.createOrFold<arith::ShRUIOp>(loc, a, integer(a.getType(), bits));
}
Value Emitter::sar(Value a, int64_t bits) {
  return bits == 0 ? a : builder.createOrFold<arith::ShRSIOp>(loc, a, integer(a.getType(), bits));
}

Value Emitter::compare(arith::CmpIPredicate predicate, Value a, Value b) {
  return builder.createOrFold<arith::CmpIOp>(loc, predicate, a, b);
}
Value Emitter::compare(arith::CmpFPredicate predicate, Value a, Value b) {
  return builder.createOrFold<arith::CmpFOp>(loc, predicate, a, b);
}
Value Emitter::select(Value condition, Value a, Value b) {
  return builder.createOrFold<arith::SelectOp>(loc, condition, a, b);
}
Value Emitter::minSigned(Value a, Value b) {
  return builder.createOrFold<arith::MinSIOp>(loc, a, b);
}
Value Emitter::maxSigned(Value a, Value b) {
  return builder.createOrFold<arith::MaxSIOp>(loc, a, b);
}

// ---- conversions ----

Value Emitter::zeroExtend(Value value, Type element) {
  if (elementOf(value) == element) return value;
  return builder.createOrFold<arith::ExtUIOp>(loc, withElement(value, element), value);
}
Value Emitter::signExtend(Value value, Type element) {
  if (elementOf(value) == element) return value;
  return builder.createOrFold<arith::ExtSIOp>(loc, withElement(value, element), value);
}
Value Emitter::truncate(Value value, Type element) {
  if (elementOf(value) == element) return value;
  return builder.createOrFold<arith::TruncIOp>(loc, withElement(value, element), value);
}

Value Emitter::bitcast(Value value, Type element) {
  const int64_t bits = lanesOf(value) * elementOf(value).getIntOrFloatBitWidth();
  const Type to = type(element, bits / element.getIntOrFloatBitWidth());
  if (to == value.getType()) return value;
  if (llvm::isa<VectorType>(value.getType()) != llvm::isa<VectorType>(to))
    return LLVM::BitcastOp::create(builder, loc, to, value);
  if (llvm::isa<VectorType>(to) &&
      elementOf(value).getIntOrFloatBitWidth() != element.getIntOrFloatBitWidth())
    return vector::BitCastOp::create(builder, loc, llvm::cast<VectorType>(to), value);
  return builder.createOrFold<arith::BitcastOp>(loc, to, value);
}

// ---- lanes ----

Value Emitter::splat(Value scalar, int64_t lanes) {
  if (lanes == 1) return scalar;
  return builder.createOrFold<vector::BroadcastOp>(loc, VectorType::get({lanes}, scalar.getType()),
                                                   scalar);
}

Value Emitter::shuffle(Value a, Value b, ArrayRef<int64_t> mask) {
  if (lanesOf(a) == 1) {
    a = vector::BroadcastOp::create(builder, loc, VectorType::get({1}, a.getType()), a);
    if (b) b = vector::BroadcastOp::create(builder, loc, VectorType::get({1}, b.getType()), b);
  }
  if (mask.size() == 1) {
    const int64_t lanes = lanesOf(a);
    return mask[0] < lanes ? extract(a, mask[0]) : extract(b, mask[0] - lanes);
  }
  return vector::ShuffleOp::create(builder, loc, a, b ? b : a, mask);
}

Value Emitter::slice(Value vector, int64_t first, int64_t lanes) {
  if (first == 0 && lanes == lanesOf(vector)) return vector;
  SmallVector<int64_t> mask(lanes);
  for (int64_t i = 0; i < lanes; ++i) mask[i] = first + i;
  return shuffle(vector, {}, mask);
}

Value Emitter::concat(ArrayRef<Value> parts) {
  if (parts.size() == 1) return parts[0];
  SmallVector<Value> merged;
  for (size_t i = 0; i + 1 < parts.size(); i += 2) {
    const int64_t lanes = lanesOf(parts[i]);
    TESSERA_CHECK(lanes == lanesOf(parts[i + 1]), "concatenating {} and {} lanes", lanes,
                  lanesOf(parts[i + 1]));
    SmallVector<int64_t> mask(2 * lanes);
    for (int64_t lane = 0; lane < 2 * lanes; ++lane) mask[lane] = lane;
    merged.push_back(shuffle(parts[i], parts[i + 1], mask));
  }
  return concat(merged);
}

Value Emitter::extract(Value vector, int64_t lane) {
  if (!llvm::isa<VectorType>(vector.getType())) return vector;
  return builder.createOrFold<vector::ExtractOp>(loc, vector, ArrayRef<int64_t>{lane});
}

Value Emitter::insert(Value vector, Value scalar, int64_t lane) {
  return vector::InsertOp::create(builder, loc, scalar, vector, ArrayRef<int64_t>{lane});
}

Value Emitter::reduceHalves(Value vector, llvm::function_ref<Value(Value, Value)> combine) {
  for (int64_t lanes = lanesOf(vector); lanes > 1; lanes /= 2)
    vector = combine(slice(vector, 0, lanes / 2), slice(vector, lanes / 2, lanes / 2));
  return vector;
}

// ---- calls and control ----

Value Emitter::intrinsic(llvm::StringRef name, Type result, ArrayRef<Value> operands) {
  return LLVM::CallIntrinsicOp::create(builder, loc, result, builder.getStringAttr(name), operands)
      .getResult(0);
}

void Emitter::call(llvm::StringRef name, ArrayRef<Value> operands) {
  LLVM::CallIntrinsicOp::create(builder, loc, builder.getStringAttr(name), ValueRange(operands));
}

bool Emitter::configureTiles(ArrayRef<char> config) {
  const std::string wanted(config.begin(), config.end());
  if (!tileConfig_.empty()) return tileConfig_ == wanted;
  tileConfig_ = wanted;
  mlir::OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(entry_);
  call("llvm.x86.ldtilecfg", {table(config)});
  return true;
}

void Emitter::releaseTiles() {
  if (!tileConfig_.empty()) call("llvm.x86.tilerelease");
}

SmallVector<Value> Emitter::loop(Value lo, Value hi, Value step, ValueRange carried,
                                 LoopBody body) {
  auto op = scf::ForOp::create(builder, loc, lo, hi, step, carried);
  mlir::OpBuilder::InsertionGuard guard(builder);
  mlir::Block* block = op.getBody();
  // The builder makes the terminator itself when nothing is carried.
  if (block->empty() || !block->back().hasTrait<mlir::OpTrait::IsTerminator>())
    builder.setInsertionPointToEnd(block);
  else
    builder.setInsertionPoint(&block->back());
  const SmallVector<Value> next = body(op.getInductionVar(), op.getRegionIterArgs());
  if (!carried.empty()) scf::YieldOp::create(builder, loc, next);
  return {op.getResults().begin(), op.getResults().end()};
}

void Emitter::loop(int64_t lo, int64_t hi, int64_t step, llvm::function_ref<void(Value)> body) {
  if (lo + step >= hi) {
    if (lo < hi) body(i64(lo));
    return;
  }
  loop(i64(lo), i64(hi), i64(step), {}, [&](Value i, ValueRange) -> SmallVector<Value> {
    body(i);
    return {};
  });
}

void Emitter::ifThen(Value condition, llvm::function_ref<void()> then) {
  auto op = scf::IfOp::create(builder, loc, condition, /*withElseRegion=*/false);
  mlir::OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(op.thenBlock()->getTerminator());
  then();
}

}  // namespace tessera::compiler
