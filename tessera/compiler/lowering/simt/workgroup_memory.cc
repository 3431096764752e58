// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/workgroup_memory.h"

#include <algorithm>
#include <limits>

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

namespace tessera::compiler::simt {

using mlir::Location;

Array WorkgroupMemory::allocate(Location loc, DType dtype, int64_t count, int64_t alignment) {
  top_ = llvm::alignTo(top_, alignment);
  const Array array = memory_.allocateShared(loc, dtype, count, top_);
  top_ += array.words();
  peak_ = std::max(peak_, top_);
  return array;
}

bool WorkgroupMemory::meets(llvm::ArrayRef<Range> pending, const Range& range) {
  return llvm::any_of(pending, [&](const Range& other) { return other.meets(range); });
}

void WorkgroupMemory::barrier(Location loc) {
  memory_.barrier(loc);
  written_.clear();
  read_.clear();
}

void WorkgroupMemory::beforeRead(Location loc, llvm::ArrayRef<Array> arrays) {
  if (llvm::any_of(arrays, [&](const Array& array) { return meets(written_, rangeOf(array)); }))
    barrier(loc);
  for (const Array& array : arrays) read_.push_back(rangeOf(array));
}

void WorkgroupMemory::endHolding(const Array& array) {
  held_.erase(llvm::find(held_, rangeOf(array)));
}

void WorkgroupMemory::beforeWrite(Location loc, const Array& array) {
  if (meets(held_, rangeOf(array))) {
    end_();
    barrier(loc);
  }
  if (meets(written_, rangeOf(array)) || meets(read_, rangeOf(array))) barrier(loc);
  written_.push_back(rangeOf(array));
}

void WorkgroupMemory::forget() {
  written_.assign(1, {0, std::numeric_limits<int64_t>::max()});
  read_ = written_;
}

}  // namespace tessera::compiler::simt
