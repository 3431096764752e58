// SPDX-License-Identifier: Apache-2.0
// What one thread of a workgroup can reach: its identity, the argument slots, and three kinds of
// memory. The lowering is written against this; NVVM and SPIR-V implement it.
//
// A value of a dtype is held in a register as: f32; i1; i64; i32 for i32 and u32; i16 for bf16 and
// f16; i8 for i8, u8, the 8-bit floats and a 4-bit code. In the workgroup's memory every element
// takes one 32-bit word, an i64 two.
#pragma once

#include <cstdint>
#include <optional>

#include "mlir/IR/Builders.h"
#include "mlir/IR/Value.h"
#include "tessera/base/dtype.h"

namespace tessera::compiler::simt {

/// The register type of a dtype.
mlir::Type registerType(mlir::MLIRContext* context, DType dtype);

/// An array of `count` elements in the workgroup's memory.
struct Array {
  mlir::Value base;
  DType dtype = DType::f32;
  int64_t count = 0;
  int64_t firstWord = 0;

  int64_t words() const { return count * wordsPerElement(dtype); }
  static int64_t wordsPerElement(DType dtype) { return dtype == DType::i64 ? 2 : 1; }
};

/// How an access to global memory treats the caches.
enum class Caching : uint8_t {
  kNormal,
  kReadOnly,  // nothing writes there while the kernel runs
  kStreamed,  // not used again soon
};

class ThreadMemory {
 public:
  explicit ThreadMemory(mlir::OpBuilder& builder) : builder_(builder) {}
  virtual ~ThreadMemory() = default;

  // Results are i64 unless stated; all are uniform but threadId().
  virtual mlir::Value slot(mlir::Location loc, uint32_t index) = 0;
  /// x in the low half, y in the high half.
  virtual mlir::Value gridXy(mlir::Location loc) = 0;
  virtual mlir::Value programs(mlir::Location loc) = 0;
  virtual mlir::Value workgroup(mlir::Location loc) = 0;
  virtual mlir::Value workgroupCount(mlir::Location loc) = 0;
  /// Workgroups of a launch in three dimensions, and which of them this one is.
  struct Launch {
    llvm::SmallVector<mlir::Value, 3> place, extents;
  };
  /// None where all launches have one dimension.
  virtual std::optional<Launch> launch(mlir::Location) { return std::nullopt; }
  virtual mlir::Value threadId(mlir::Location loc) = 0;  // i32
  /// Whether the numbers in all these slots are multiples of `bytes`, a power of two (i1).
  virtual mlir::Value slotsAligned(mlir::Location loc, llvm::ArrayRef<uint32_t> slots,
                                   int64_t bytes);

  /// The address (i64) of tensor map number `index` among the kernel's parameters.
  virtual mlir::Value tensorMap(mlir::Location loc, uint32_t index);

  /// Waits for all threads of the workgroup; memory of all kinds is consistent afterwards.
  virtual void barrier(mlir::Location loc) = 0;
  /// The same value, of which the compiler knows nothing else: what is computed from it stays where
  /// it is, instead of moving ahead of a branch and taking up registers.
  virtual mlir::Value opaque(mlir::Location, mlir::Value value) { return value; }
  /// Barriers emitted from now on are of so many threads, the lowest of the workgroup.
  void limitBarriers(int64_t threads) { barrierThreads_ = threads; }

  // Global memory in units of i8, i16, or 1, 2 or 4 times i32; the address is aligned to them all.
  using Units = llvm::SmallVector<mlir::Value, 4>;
  /// `fill` (of the units' type) where `inside` is false; `inside` null: always inside.
  virtual Units loadGlobal(mlir::Location loc, mlir::Type unit, int64_t count, mlir::Value address,
                           mlir::Value inside, mlir::Value fill, Caching caching) = 0;
  virtual void storeGlobal(mlir::Location loc, mlir::ValueRange units, mlir::Value address,
                           mlir::Value inside, Caching caching) = 0;
  /// Adds an i32 or i64.
  virtual void atomicAddGlobal(mlir::Location loc, mlir::Value value, mlir::Value address) = 0;
  /// The value of lane number `lane` among 2^laneBits neighbours.
  virtual mlir::Value fromLane(mlir::Location loc, mlir::Value value, int laneBits, int lane);
  /// The i32 of the thread whose number differs in bit `laneBit`.
  virtual mlir::Value exchange(mlir::Location loc, mlir::Value value, int laneBit) = 0;

  /// `firstWord` counts from the start of the workgroup's memory.
  Array allocateShared(mlir::Location loc, DType dtype, int64_t count, int64_t firstWord);
  mlir::Value load(mlir::Location loc, const Array& array, mlir::Value index);  // index i32
  /// The address of the array's first byte in the workgroup's memory, i32.
  virtual mlir::Value sharedAddress(mlir::Location loc, const Array& array) = 0;
  void store(mlir::Location loc, mlir::Value value, const Array& array, mlir::Value index);

  // Of chips with cooperative matrices: pieces of four words, from a multiple of four on (i32).
  static constexpr int64_t kPieceWords = 4;
  virtual Units loadPiece(mlir::Location loc, const Array& array, mlir::Value word);
  virtual void storePiece(mlir::Location loc, mlir::ValueRange words, const Array& array,
                          mlir::Value word);
  /// SPIR-V's pointer to one.
  virtual mlir::Value piecePointer(mlir::Location loc, const Array& array, mlir::Value word);
  /// The number of this thread's subgroup (i32), the same in all of it.
  virtual mlir::Value subgroup(mlir::Location loc);
  /// Adds to an i32 element of a shared array.
  virtual void atomicAddShared(mlir::Location loc, mlir::Value value, const Array& array,
                               mlir::Value index) = 0;

 protected:
  virtual mlir::Value sharedWords(mlir::Location loc, int64_t firstWord) = 0;
  virtual mlir::Value loadWord(mlir::Location loc, const Array& array, mlir::Value word) = 0;
  virtual void storeWord(mlir::Location loc, mlir::Value value, const Array& array,
                         mlir::Value word) = 0;

  mlir::OpBuilder& builder_;
  int64_t barrierThreads_ = 0;  // 0: all

 private:
  mlir::Value constant(mlir::Location loc, mlir::Type type, int64_t value);
};

}  // namespace tessera::compiler::simt
