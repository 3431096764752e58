// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_ops.h"

#include <bit>

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/base/check.h"

namespace tessera::compiler::cpu {

using mlir::Value;

mlir::Type elementOf(Emitter& e, DotForm form) { return form == DotForm::kF32 ? e.f32() : e.i16(); }

mlir::Type accumulatorOf(Emitter& e, DotForm form) {
  return form == DotForm::kI16 ? e.i32() : e.f32();
}

namespace {

Value dotBf16(Emitter& e, Value accumulator, Value x, Value y) {
  const int64_t lanes = Emitter::lanesOf(accumulator);
  const auto bf16 = e.builder.getBF16Type();
  const std::string name = "llvm.x86.avx512bf16.dpbf16ps." + std::to_string(32 * lanes);
  return e.intrinsic(name, accumulator.getType(),
                     {accumulator, e.bitcast(x, bf16), e.bitcast(y, bf16)});
}

/// Products of pairs of i16, summed: exact in i32 unless all four are -32768.
Value multiplyPairs(Emitter& e, Value x, Value y, int64_t lanes) {
  const mlir::Type sums = e.type(e.i32(), lanes);
  if (e.target.lanes >= 4 && lanes == 4 && e.target.isX86)
    return e.intrinsic("llvm.x86.sse2.pmadd.wd", sums, {x, y});
  if (e.target.hasAvx2 && lanes == 8) return e.intrinsic("llvm.x86.avx2.pmadd.wd", sums, {x, y});
  if (e.target.hasAvx512 && lanes == 16)
    return e.intrinsic("llvm.x86.avx512.pmaddw.d.512", sums, {x, y});
  llvm::SmallVector<int64_t> even, odd;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    even.push_back(2 * lane);
    odd.push_back(2 * lane + 1);
  }
  const Value wideX = e.signExtend(x, e.i32()), wideY = e.signExtend(y, e.i32());
  const Value products = e.mul(wideX, wideY);
  return e.add(e.shuffle(products, Value(), even), e.shuffle(products, Value(), odd));
}

}  // namespace

Value multiplyAdd(Emitter& e, DotForm form, Value accumulator, Value x, Value y) {
  switch (form) {
    case DotForm::kF32: return e.fma(x, y, accumulator);
    case DotForm::kBf16: return dotBf16(e, accumulator, x, y);
    case DotForm::kI16: break;
  }
  return e.add(accumulator, multiplyPairs(e, x, y, Emitter::lanesOf(accumulator)));
}

Value subSaturated(Emitter& e, Value x, Value y) {
  return mlir::LLVM::USubSat::create(e.builder, e.loc, x.getType(), x, y);
}

Value rotateLeft(Emitter& e, Value x, Value amounts) {
  return mlir::LLVM::FshlOp::create(e.builder, e.loc, x.getType(), x, x, amounts);
}

Value maxUnsigned(Emitter& e, Value x, Value y) {
  return mlir::arith::MaxUIOp::create(e.builder, e.loc, x, y);
}

Value divide(Emitter& e, Value x, int64_t divisor) {
  TESSERA_CHECK(std::has_single_bit(static_cast<uint64_t>(divisor)));
  return divisor == 1 ? x : e.shr(x, std::countr_zero(static_cast<uint64_t>(divisor)));
}

Value scaleOfBytes(Emitter& e, Value bytes) {
  const auto constant = [&](int64_t value) { return e.integer(bytes.getType(), value); };
  // 2^-127 is subnormal: its bits are half of those of 2^-126.
  const Value bits = maxUnsigned(e, e.shl(bytes, 23), constant(0x00400000));
  // 255 would be infinity: one bit of the mantissa makes it NaN.
  const Value isNan = e.andi(e.add(bytes, constant(1)), int64_t{256});
  return e.bitcast(e.ori(bits, e.shl(isNan, 14)), e.f32());
}

Value scalesOfGroups(Emitter& e, Value pointer) {
  // Four bytes in every lane; each lane turns its own into an exponent.
  const Value word = e.splat(e.load(e.i32(), pointer), 16);
  llvm::SmallVector<int64_t> amounts;
  for (int64_t lane = 0; lane < 16; ++lane) amounts.push_back((23 + 24 * (lane / 4)) % 32);
  const Value turned = rotateLeft(e, word, e.integers(e.i32(), amounts));
  return e.bitcast(e.andi(turned, int64_t{0x7f800000}), e.f32());
}

Value loadScale(Emitter& e, DType dtype, Value pointer) {
  if (dtype == DType::f32) return e.load(e.f32(), pointer);
  return scaleOfBytes(e, e.zeroExtend(e.load(e.i8(), pointer), e.i32()));
}

namespace {

/// Adds a and b so that each keeps half of the lanes. Stages 0 and 1 stay within groups of four
/// lanes, later ones move whole groups; after the last stage the sums are in order.
Value foldPair(Emitter& e, Value a, Value b, int stage) {
  const int64_t lanes = Emitter::lanesOf(a);
  llvm::SmallVector<int64_t> low, high;
  const auto pick = [&](int64_t lowLane, int64_t highLane) {
    low.push_back(lowLane);
    high.push_back(highLane);
  };
  if (stage == 0 && lanes >= 4) {
    for (int64_t g = 0; g < lanes; g += 4)
      for (int64_t i = 0; i < 2; ++i) {
        pick(g + i, g + i + 2);
        pick(lanes + g + i, lanes + g + i + 2);
      }
  } else if (stage == 1 && lanes >= 4) {
    for (int64_t g = 0; g < lanes; g += 4)
      for (int64_t from : {int64_t{0}, lanes}) {
        pick(from + g, from + g + 2);
        pick(from + g + 1, from + g + 3);
      }
  } else {
    // Groups of `unit` lanes: the even half of a's groups, then of b's. In the first of these
    // stages (three or more to go) neighbours are halves apart.
    const int64_t unit = lanes >= 4 ? 4 : 1, groups = lanes / unit;
    const bool last = groups == 2 || stage == 3;
    for (int64_t from : {int64_t{0}, lanes})
      for (int64_t g = 0; g < groups / 2; ++g) {
        const int64_t first = last ? 2 * g : g, second = last ? 2 * g + 1 : g + groups / 2;
        for (int64_t i = 0; i < unit; ++i) pick(from + first * unit + i, from + second * unit + i);
      }
  }
  return e.add(e.shuffle(a, b, low), e.shuffle(a, b, high));
}

}  // namespace

Values sumLanes(Emitter& e, llvm::ArrayRef<Value> accumulators) {
  const int64_t lanes = Emitter::lanesOf(accumulators.front());
  Values sums;
  for (size_t first = 0; first < accumulators.size(); first += lanes) {
    Values group(accumulators.slice(first, std::min<size_t>(lanes, accumulators.size() - first)));
    int stage = 0;
    for (int64_t width = lanes; width > 1; width /= 2, ++stage) {
      Values folded;
      for (size_t i = 0; i < group.size(); i += 2)
        folded.push_back(foldPair(e, group[i], group[std::min(i + 1, group.size() - 1)], stage));
      group = folded;
    }
    sums.push_back(group.front());
  }
  return sums;
}

Values permute(Emitter& e, llvm::ArrayRef<Value> sources, llvm::ArrayRef<int64_t> order) {
  const int64_t width = Emitter::lanesOf(sources.front());
  Values result;
  for (size_t first = 0; first < order.size(); first += width) {
    // A tree: lanes from a pair of sources first, then the halves of the tree merged lane by lane.
    struct Part {
      Value value;
      llvm::SmallVector<bool> valid;
    };
    llvm::SmallVector<Part> parts;
    for (size_t s = 0; s < sources.size(); s += 2) {
      Part part{Value(), llvm::SmallVector<bool>(width, false)};
      llvm::SmallVector<int64_t> mask(width, 0);
      const int64_t base = s * width;
      bool any = false;
      for (int64_t lane = 0; lane < width; ++lane) {
        const int64_t from = order[first + lane] - base;
        if (from < 0 || from >= 2 * width) continue;
        mask[lane] = from;
        part.valid[lane] = any = true;
      }
      if (!any) continue;
      part.value =
          e.shuffle(sources[s], s + 1 < sources.size() ? sources[s + 1] : sources[s], mask);
      parts.push_back(part);
    }
    while (parts.size() > 1) {
      llvm::SmallVector<Part> merged;
      for (size_t p = 0; p + 1 < parts.size(); p += 2) {
        llvm::SmallVector<int64_t> mask(width);
        Part part{Value(), parts[p].valid};
        for (int64_t lane = 0; lane < width; ++lane) {
          mask[lane] = parts[p].valid[lane] ? lane : width + lane;
          part.valid[lane] = parts[p].valid[lane] || parts[p + 1].valid[lane];
        }
        part.value = e.shuffle(parts[p].value, parts[p + 1].value, mask);
        merged.push_back(part);
      }
      if (parts.size() % 2) merged.push_back(parts.back());
      parts = merged;
    }
    result.push_back(parts.front().value);
  }
  return result;
}

Values branch(Emitter& e, Value condition, llvm::function_ref<Values()> then,
              llvm::function_ref<Values()> otherwise) {
  const auto body = [&](llvm::function_ref<Values()> emit) {
    return [&e, emit](mlir::OpBuilder& builder, mlir::Location loc) {
      // The emitter's builder is another one than the op's: keep them in step.
      mlir::OpBuilder::InsertionGuard guard(e.builder);
      e.builder.restoreInsertionPoint(builder.saveInsertionPoint());
      const Values results = emit();
      builder.restoreInsertionPoint(e.builder.saveInsertionPoint());
      mlir::scf::YieldOp::create(builder, loc, results);
    };
  };
  auto op = mlir::scf::IfOp::create(e.builder, e.loc, condition, body(then), body(otherwise));
  return Values(op.getResults());
}

}  // namespace tessera::compiler::cpu
