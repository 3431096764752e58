// SPDX-License-Identifier: Apache-2.0
// Short names for the operations both lowerings are made of. Values are scalars or 1-D vectors;
// all arithmetic here takes either, a vector of one lane is always a scalar. Pointers are !llvm.ptr
// and offsets are bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "tessera/compiler/lowering/lanes/cpu_target.h"

namespace tessera::compiler {

class Emitter {
 public:
  Emitter(mlir::OpBuilder& builder, mlir::Location loc, const CpuTarget& target, mlir::Block* entry)
      : builder(builder), loc(loc), target(target), entry_(entry) {}

  mlir::OpBuilder& builder;
  mlir::Location loc;
  const CpuTarget& target;

  // ---- types ----
  mlir::Type i1() { return builder.getI1Type(); }
  mlir::Type i8() { return builder.getI8Type(); }
  mlir::Type i16() { return builder.getI16Type(); }
  mlir::Type i32() { return builder.getI32Type(); }
  mlir::Type i64() { return builder.getI64Type(); }
  mlir::Type f32() { return builder.getF32Type(); }
  mlir::Type pointer();
  /// vector<lanes x element>, or the element itself for one lane.
  mlir::Type type(mlir::Type element, int64_t lanes);
  static int64_t lanesOf(mlir::Value value);
  static mlir::Type elementOf(mlir::Value value);
  /// The type of `like` with another element.
  mlir::Type withElement(mlir::Value like, mlir::Type element) {
    return type(element, lanesOf(like));
  }

  // ---- constants ----
  /// A number of this type in every lane; floats take `value` exactly, integers its low bits.
  mlir::Value constant(mlir::Type type, double value);
  mlir::Value integer(mlir::Type type, int64_t value);
  mlir::Value i64(int64_t value) { return integer(i64(), value); }
  mlir::Value i32(int64_t value) { return integer(i32(), value); }
  mlir::Value f32(float value) { return constant(f32(), value); }
  /// The f32 with these bits in every lane of `type`.
  mlir::Value floatBits(mlir::Type type, uint32_t bits);
  /// One integer for every lane.
  mlir::Value integers(mlir::Type element, llvm::ArrayRef<int64_t> values);
  mlir::Value floats(llvm::ArrayRef<float> values);
  /// Address of read-only bytes, 64-byte aligned; equal bytes share one global.
  mlir::Value table(llvm::ArrayRef<char> bytes);
  /// The integer behind a constant scalar.
  static std::optional<int64_t> asConstant(mlir::Value value);

  // ---- memory ----
  mlir::Value offset(mlir::Value pointer, int64_t bytes);
  mlir::Value offset(mlir::Value pointer, mlir::Value bytes);
  mlir::Value load(mlir::Type type, mlir::Value pointer, unsigned alignment = 1);
  void store(mlir::Value value, mlir::Value pointer, unsigned alignment = 1,
             bool nonTemporal = false);
  /// Stack memory of the whole call, 64-byte aligned.
  mlir::Value scratch(int64_t bytes);
  int64_t scratchBytes() const { return scratchBytes_; }
  /// Large pieces of scratch memory with their sizes.
  using Scratch = llvm::SmallVector<std::pair<int64_t, mlir::Value>>;
  /// While it lives, scratch memory is noted in `made`, and taken from `spare` where a piece fits:
  /// two pieces of code of which a call is only ever in one may share it.
  class ScratchScope {
   public:
    ScratchScope(Emitter& emitter, Scratch* made, Scratch* spare)
        : e_(emitter),
          made_(std::exchange(emitter.made_, made)),
          spare_(std::exchange(emitter.spare_, spare)) {}
    ~ScratchScope() {
      e_.made_ = made_;
      e_.spare_ = spare_;
    }
    ScratchScope(const ScratchScope&) = delete;
    ScratchScope& operator=(const ScratchScope&) = delete;

   private:
    Emitter& e_;
    Scratch *made_, *spare_;
  };
  void memcpy(mlir::Value to, mlir::Value from, mlir::Value bytes);
  /// locality 3 = all caches, 2 = L2, 0 = non-temporal.
  void prefetch(mlir::Value pointer, int locality);

  // ---- arithmetic: floats or integers by type ----
  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value sub(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, mlir::Value b);
  mlir::Value add(mlir::Value a, double b) { return add(a, constant(a.getType(), b)); }
  mlir::Value sub(mlir::Value a, double b) { return sub(a, constant(a.getType(), b)); }
  mlir::Value mul(mlir::Value a, double b) { return mul(a, constant(a.getType(), b)); }
  /// a * b + c: one instruction where the target has it, two roundings elsewhere.
  mlir::Value fma(mlir::Value a, mlir::Value b, mlir::Value c);
  mlir::Value andi(mlir::Value a, mlir::Value b);
  mlir::Value ori(mlir::Value a, mlir::Value b);
  mlir::Value xori(mlir::Value a, mlir::Value b);
  mlir::Value andi(mlir::Value a, int64_t b) { return andi(a, integer(a.getType(), b)); }
  mlir::Value ori(mlir::Value a, int64_t b) { return ori(a, integer(a.getType(), b)); }
  mlir::Value xori(mlir::Value a, int64_t b) { return xori(a, integer(a.getType(), b)); }
  mlir::Value shl(mlir::Value a, int64_t bits);
  mlir::Value shr(mlir::Value a, int64_t bits);  // logical
  mlir::Value sar(mlir::Value a, int64_t bits);  // arithmetic
  mlir::Value compare(mlir::arith::CmpIPredicate predicate, mlir::Value a, mlir::Value b);
  mlir::Value compare(mlir::arith::CmpFPredicate predicate, mlir::Value a, mlir::Value b);
  mlir::Value select(mlir::Value condition, mlir::Value a, mlir::Value b);
  mlir::Value minSigned(mlir::Value a, mlir::Value b);
  mlir::Value maxSigned(mlir::Value a, mlir::Value b);

  // ---- conversions, element by element ----
  mlir::Value zeroExtend(mlir::Value value, mlir::Type element);
  mlir::Value signExtend(mlir::Value value, mlir::Type element);
  mlir::Value truncate(mlir::Value value, mlir::Type element);
  /// Same bits; the number of lanes follows from the element.
  mlir::Value bitcast(mlir::Value value, mlir::Type element);

  // ---- lanes ----
  mlir::Value splat(mlir::Value scalar, int64_t lanes);
  /// Lanes of a, then of b, picked by a constant mask; b may be null.
  mlir::Value shuffle(mlir::Value a, mlir::Value b, llvm::ArrayRef<int64_t> mask);
  mlir::Value slice(mlir::Value vector, int64_t first, int64_t lanes);
  mlir::Value concat(llvm::ArrayRef<mlir::Value> parts);
  mlir::Value extract(mlir::Value vector, int64_t lane);
  mlir::Value insert(mlir::Value vector, mlir::Value scalar, int64_t lane);
  /// Combines all lanes by halves: lane i with lane i + n/2, then the same on the lower half.
  mlir::Value reduceHalves(mlir::Value vector,
                           llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> combine);

  // ---- calls and control ----
  /// Has the function begin by giving tile registers the shapes in `config` (64 bytes, as
  /// LDTILECFG reads them). False: it begins with other shapes already.
  bool configureTiles(llvm::ArrayRef<char> config);
  /// Gives them back where the function ends, if it configured them.
  void releaseTiles();
  /// An LLVM intrinsic by name, such as "llvm.x86.avx512.permvar.sf.512".
  mlir::Value intrinsic(llvm::StringRef name, mlir::Type result,
                        llvm::ArrayRef<mlir::Value> operands);
  /// One without a result.
  void call(llvm::StringRef name, llvm::ArrayRef<mlir::Value> operands = {});
  using LoopBody =
      llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::ValueRange)>;
  /// for (i = lo; i < hi; i += step) over i64; returns the last carried values.
  llvm::SmallVector<mlir::Value> loop(mlir::Value lo, mlir::Value hi, mlir::Value step,
                                      mlir::ValueRange carried, LoopBody body);
  void loop(int64_t lo, int64_t hi, int64_t step, llvm::function_ref<void(mlir::Value)> body);
  void ifThen(mlir::Value condition, llvm::function_ref<void()> then);

 private:
  mlir::Block* entry_;  // of the function: allocas live there
  Scratch *made_ = nullptr, *spare_ = nullptr;
  int64_t scratchBytes_ = 0;
  std::string tileConfig_;
};

}  // namespace tessera::compiler
