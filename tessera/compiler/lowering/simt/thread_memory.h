// SPDX-License-Identifier: Apache-2.0
// What one thread of a workgroup can reach: its identity, the argument slots, and three kinds of
// memory. The lowering is written against this; NVVM and SPIR-V implement it.
//
// A value of a dtype is held in a register as: f32; i1; i64; i32 for i32 and u32; i16 for bf16 and
// f16; i8 for i8, u8, the 8-bit floats and a 4-bit code. In private and shared memory every element
// takes one 32-bit word, an i64 two.
#pragma once

#include <cstdint>

#include "mlir/IR/Builders.h"
#include "mlir/IR/Value.h"
#include "tessera/base/dtype.h"

namespace tessera::compiler::simt {

/// The register type of a dtype.
mlir::Type registerType(mlir::MLIRContext* context, DType dtype);

enum class Space : uint8_t {
  kPrivate,  // of one thread
  kShared,   // of the workgroup
};

/// An array of `count` elements in private or shared memory.
struct Array {
  mlir::Value base;
  DType dtype = DType::f32;
  Space space = Space::kPrivate;
  int64_t count = 0;

  int64_t words() const { return count * wordsPerElement(dtype); }
  static int64_t wordsPerElement(DType dtype) { return dtype == DType::i64 ? 2 : 1; }
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
  virtual mlir::Value threadId(mlir::Location loc) = 0;  // i32

  /// Waits for all threads of the workgroup; memory of all kinds is consistent afterwards.
  virtual void barrier(mlir::Location loc) = 0;

  // `type` is i8, i16, i32, i64 or f32; the address is aligned to it.
  virtual mlir::Value loadGlobal(mlir::Location loc, mlir::Type type, mlir::Value address) = 0;
  virtual void storeGlobal(mlir::Location loc, mlir::Value value, mlir::Value address) = 0;
  virtual void atomicAddGlobal(mlir::Location loc, mlir::Value value, mlir::Value address) = 0;

  Array allocatePrivate(mlir::Location loc, DType dtype, int64_t count);
  /// `firstWord` counts from the start of the workgroup's memory.
  Array allocateShared(mlir::Location loc, DType dtype, int64_t count, int64_t firstWord);
  mlir::Value load(mlir::Location loc, const Array& array, mlir::Value index);  // index i32
  void store(mlir::Location loc, mlir::Value value, const Array& array, mlir::Value index);
  /// Adds to an i32 element of a shared array.
  virtual void atomicAddShared(mlir::Location loc, mlir::Value value, const Array& array,
                               mlir::Value index) = 0;

 protected:
  virtual mlir::Value privateWords(mlir::Location loc, int64_t count) = 0;
  virtual mlir::Value sharedWords(mlir::Location loc, int64_t firstWord) = 0;
  virtual mlir::Value loadWord(mlir::Location loc, const Array& array, mlir::Value word) = 0;
  virtual void storeWord(mlir::Location loc, mlir::Value value, const Array& array,
                         mlir::Value word) = 0;

  mlir::OpBuilder& builder_;

 private:
  mlir::Value constant(mlir::Location loc, mlir::Type type, int64_t value);
};

}  // namespace tessera::compiler::simt
