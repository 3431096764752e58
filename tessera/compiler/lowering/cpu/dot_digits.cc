// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_digits.h"

#include <array>

#include "tessera/compiler/lowering/cpu/dot_ops.h"
#include "tessera/compiler/lowering/cpu/dot_pack.h"
#include "tessera/compiler/lowering/cpu/dot_plain.h"
#include "tessera/compiler/lowering/cpu/dot_rows.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;

constexpr int64_t kUnit = 128;  // weights of a line of 64 bytes
constexpr int64_t kDigits = 3, kBase = 7;
constexpr int64_t kOffset = 12;                 // added to doubled weights
constexpr int64_t kLine = 64;                   // bytes of a register
constexpr int64_t kSums = 2 * kDigits * kLine;  // where the correction of a packed unit is
constexpr int64_t kScale = kSums + kLine;       // and its scale
constexpr int64_t kPacked = kScale + kLine;     // bytes of a packed unit
constexpr double kWorth = 1.0 / 1024;           // of a doubled weight times 2^-9
constexpr int64_t kPrefetchAhead = 12 * 1024;   // bytes; into L2

using Table = std::array<int64_t, 128>;

/// Digit `index`, highest first, of each magnitude of e4m3 in units of 2^-9.
Table digitTable(int64_t index) {
  Table table = {};
  for (int64_t code = 0; code < 127; ++code) {
    const int64_t exponent = code >> 3, mantissa = code & 7;
    int64_t rest = exponent == 0 ? mantissa : (8 + mantissa) << (exponent - 1);
    int64_t digit = 0;
    for (int64_t i = kDigits; i > index; --i) {
      digit = ((rest + 64) & 127) - 64;
      rest = (rest - digit) >> kBase;
    }
    table[static_cast<size_t>(code)] = digit;
  }
  return table;
}

class Digits {
 public:
  Digits(Emitter& e, DotTask& task) : e_(e), task_(task), bytes_(e.type(e.i8(), kLine)) {}

  void run() {
    const Value packed = keptOrMade(e_, task_, task_.k / kUnit * kPacked, [&](Value to) {
      e_.loop(0, task_.k, kUnit, [&](Value first) { pack(first, to); });
    });
    llvm::SmallVector<int64_t> entries;
    constexpr int64_t kDoubled[] = {0, 1, 2, 3, 4, 6, 8, 12};
    for (int64_t i = 0; i < kLine; ++i) {
      const int64_t magnitude = kDoubled[i & 7];
      entries.push_back(kOffset + (i & 8 ? -magnitude : magnitude));
    }
    const Value table = e_.integers(e_.i8(), entries);
    const mlir::Type sums = e_.type(e_.f32(), 16);
    for (int64_t n = 0; n < task_.n; ++n) {
      const Value to = e_.offset(task_.accumulator, n * 64);
      const Value line = e_.offset(task_.b.pointer, e_.mul(e_.i64(n), task_.b.rowStride));
      Value sum = e_.load(sums, to, 64);
      for (int64_t unit = 0; unit < task_.k / kUnit; ++unit)
        sum = product(sum, table, e_.offset(line, unit * kLine), scaleAt(n, unit * kUnit),
                      e_.offset(packed, unit * kPacked));
      e_.store(sum, to, 64);
    }
  }

 private:
  Value scaleAt(int64_t n, int64_t k) {
    return scaleAddress(e_, *task_.bScale, e_.i64(n), task_.n, e_.i64(k / 32));
  }

  Value multiply(Value sum, Value weights, Value digits) {
    return e_.intrinsic("llvm.x86.avx512.vpdpbusd.512", sum.getType(), {sum, weights, digits});
  }
  /// The products of a unit's weights, even and odd ones, as integers.
  Value integerProduct(Value even, Value odd, llvm::ArrayRef<Value> digits) {
    Value sum = e_.constant(e_.type(e_.i32(), 16), 0);
    for (int64_t d = 0; d < kDigits; ++d) {
      if (d > 0) sum = e_.shl(sum, kBase);
      sum = multiply(multiply(sum, even, digits[2 * d]), odd, digits[2 * d + 1]);
    }
    return sum;
  }

  /// Unit of activations at element `first`: digits, each of even elements, then of odd ones; what
  /// takes the weights' offset off again; the scale in all lanes.
  void pack(Value first, Value to) {
    const Value from = e_.offset(task_.a.pointer, first);
    const Value low = e_.load(bytes_, from), high = e_.load(bytes_, e_.offset(from, kLine));
    Values digits;
    llvm::SmallVector<int64_t> order[2];
    for (int64_t i = 0; i < kUnit; ++i) order[i % 2].push_back(i);
    const Value halves[2] = {e_.shuffle(low, high, order[0]), e_.shuffle(low, high, order[1])};
    for (int64_t d = 0; d < kDigits; ++d)
      for (Value codes : halves) digits.push_back(digitsOf(codes, digitTable(d)));
    const Value unit = e_.offset(to, e_.mul(first, e_.i64(kPacked / kUnit)));
    for (size_t i = 0; i < digits.size(); ++i)
      e_.store(digits[i], e_.offset(unit, kLine * static_cast<int64_t>(i)), kLine);
    const Value offsets = e_.integer(bytes_, kOffset);
    const Value excess = integerProduct(offsets, offsets, digits);
    e_.store(e_.sub(e_.integer(excess.getType(), 0), excess), e_.offset(unit, kSums), kLine);
    Value scale = e_.f32(static_cast<float>(kWorth));
    if (task_.aScale) {
      const Value group = divide(e_, first, groupOf(*task_.aScale, task_.k));
      const Value at = scaleAddress(e_, *task_.aScale, e_.i64(0), 1, group);
      scale = e_.mul(scale, loadScale(e_, task_.aScale->dtype, at));
    }
    // NaN is no integer: it goes by the scale.
    const Value nan = e_.floatBits(e_.f32(), 0x7fc00000);
    scale = e_.select(hasNan(low, high), nan, scale);
    e_.store(e_.splat(scale, 16), e_.offset(unit, kScale), kLine);
  }

  Value hasNan(Value low, Value high) {
    const auto mask = [&](Value codes) {
      return e_.compare(mlir::arith::CmpIPredicate::eq, e_.andi(codes, int64_t{0x7f}),
                        e_.integer(bytes_, 0x7f));
    };
    const Value any = e_.ori(mask(low), mask(high));
    return e_.compare(mlir::arith::CmpIPredicate::ne,
                      e_.bitcast(any, e_.builder.getIntegerType(kLine)), e_.i64(0));
  }

  Value digitsOf(Value codes, const Table& table) {
    const llvm::ArrayRef<int64_t> all(table);
    const Value magnitude = e_.intrinsic("llvm.x86.avx512.vpermi2var.qi.512", bytes_,
                                         {e_.integers(e_.i8(), all.take_front(64)), codes,
                                          e_.integers(e_.i8(), all.drop_front(64))});
    const Value none = e_.integer(bytes_, 0);
    const Value negative = e_.compare(mlir::arith::CmpIPredicate::slt, codes, none);
    return e_.select(negative, e_.sub(none, magnitude), magnitude);
  }

  Value product(Value sum, Value table, Value weights, Value scales, Value packed) {
    const auto lookup = [&](Value index) {  // six index bits; entries repeat every 16
      return e_.intrinsic("llvm.x86.avx512.permvar.qi.512", bytes_, {table, index});
    };
    if (task_.b.inView) e_.prefetch(e_.offset(weights, kPrefetchAhead), /*locality=*/2);
    const Value codes = e_.load(bytes_, weights);
    const Value next = e_.bitcast(e_.shr(e_.bitcast(codes, e_.i16()), 4), e_.i8());
    Values digits;
    for (int64_t i = 0; i < 2 * kDigits; ++i)
      digits.push_back(e_.load(bytes_, e_.offset(packed, kLine * i), kLine));
    Value whole = integerProduct(lookup(codes), lookup(next), digits);
    whole = e_.add(whole, e_.load(whole.getType(), e_.offset(packed, kSums), kLine));
    const mlir::Type floats = e_.type(e_.f32(), 16);
    const Value scale =
        e_.mul(scalesOfGroups(e_, scales), e_.load(floats, e_.offset(packed, kScale), kLine));
    const Value number = mlir::arith::SIToFPOp::create(e_.builder, e_.loc, floats, whole);
    return e_.fma(number, scale, sum);
  }

  Emitter& e_;
  DotTask& task_;
  const mlir::Type bytes_;
};

}  // namespace

bool suitsDigits(const CpuTarget& target, const DotTask& task) {
  if (!target.slowBf16Dot || !target.hasVnni || !target.hasVbmi || target.lanes != 16) return false;
  if (task.layout != DotTask::Accumulator::kPartial || task.m != 1 || task.k % kUnit != 0)
    return false;
  if (task.a.dtype != DType::f8e4m3 || task.b.dtype != DType::f4e2m1 || !task.bScale) return false;
  if (task.aScale && groupOf(*task.aScale, task.k) % kUnit != 0) return false;
  return task.bScale->dtype == DType::f8e8m0 && groupOf(*task.bScale, task.k) == 32;
}

void emitDigits(Emitter& e, DotTask& task) {
  // The fast form of scales is wrong for bytes 0 and 255.
  const Value outside = scalesOutside(e, task, e.i64(0), task.n, 1, 254);
  branch(
      e, outside,
      [&] {
        if (task.reuse) task.reuse->load(task);
        emitElements(e, task, nullptr, nullptr);
        return Values();
      },
      [&] {
        Digits(e, task).run();
        return Values();
      });
}

}  // namespace tessera::compiler::cpu
