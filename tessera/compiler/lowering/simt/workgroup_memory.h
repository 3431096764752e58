// SPDX-License-Identifier: Apache-2.0
// Memory of the workgroup: arrays in a stack, and the barriers between their writers and readers.
//
// A barrier is placed only where an access meets one that is not ordered before it yet: a read of
// what was written, a write of what was written or read.
#pragma once

#include <functional>

#include "llvm/ADT/SmallVector.h"
#include "tessera/compiler/lowering/simt/thread_memory.h"

namespace tessera::compiler::simt {

class WorkgroupMemory {
 public:
  explicit WorkgroupMemory(ThreadMemory& memory) : memory_(memory) {}

  /// Lives until release() of an earlier top(); `alignment` in words.
  Array allocate(mlir::Location loc, DType dtype, int64_t count, int64_t alignment = 4);
  /// The first words are somebody else's.
  void reserve(int64_t words) { top_ = peak_ = words; }
  int64_t top() const { return top_; }
  void release(int64_t top) { top_ = top; }
  /// Words that were ever in use at once.
  int64_t peak() const { return peak_; }

  /// All threads are about to access elements of the array; called where all of them pass. What is
  /// read together is named together: a barrier before the second would forget the first.
  void beforeRead(mlir::Location loc, llvm::ArrayRef<Array> arrays);
  void beforeWrite(mlir::Location loc, const Array& array);
  /// The matrix unit reads an array from now on; no barrier ends that, and before somebody writes
  /// there what callToEnd() was given is called, which has to end it.
  void hold(const Array& array) { held_.push_back(rangeOf(array)); }
  void endHolding(const Array& array);
  void callToEnd(std::function<void()> end) { end_ = std::move(end); }
  /// A barrier, whatever is pending.
  void barrier(mlir::Location loc);
  /// Control flow joins, or copies arrived: anything may be pending.
  void forget();

 private:
  struct Range {
    int64_t first, last;
    bool meets(const Range& other) const { return first < other.last && other.first < last; }
    bool operator==(const Range&) const = default;
  };
  static Range rangeOf(const Array& array) {
    return {array.firstWord, array.firstWord + array.words()};
  }
  static bool meets(llvm::ArrayRef<Range> pending, const Range& range);

  ThreadMemory& memory_;
  llvm::SmallVector<Range> written_, read_;  // since the last barrier
  llvm::SmallVector<Range> held_;
  std::function<void()> end_;
  int64_t top_ = 0, peak_ = 0;
};

}  // namespace tessera::compiler::simt
