// SPDX-License-Identifier: Apache-2.0
// Test support: compiles emitDot() by itself into a function over whole matrices, for any x86
// level.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tessera/base/dtype.h"
#include "tessera/base/result.h"
#include "tessera/compiler/lowering/lanes/cpu_target.h"
#include "tessera/compiler/machine.h"

namespace tessera::compiler::cpu {

/// An x86 level with or without its optional features.
struct TestLevel {
  std::string name;
  CpuTarget target;
  Machine machine;
  bool runsHere = false;
};

/// "sse2", "avx2", "avx512" (nothing optional), "avx512bf16" (without byte lookups), "zen4" (all
/// but tile registers), "sapphirerapids" (all).
const std::vector<TestLevel>& testLevels();
const TestLevel& testLevel(const std::string& name);

/// A product and the tile it is made of.
struct TestProduct {
  DType a, b;
  int64_t m, n, k;                                 // tile
  int64_t aGroup = 0, bGroup = 0, bGroupRows = 1;  // elements of a scale along K; 0: no scales
  DType aScale = DType::f8e8m0, bScale = DType::f8e8m0;
  bool bIsKn = false;
  bool reuse = true;
  bool carried = true;    // sums may have the layout that emitDot() wants in a loop
  bool someRows = false;  // the caller gives fewer rows of a than the tile has
};

/// Matrices of one call; strides in bytes, of c in elements.
struct TestOperands {
  const void* a;
  int64_t aStride;
  const void* aScale;
  int64_t aScaleStride;
  const void* b;
  int64_t bStride;
  const void* bScale;
  int64_t bScaleStride;
  void* c;
  int64_t cStride;
  int64_t rows;                  // of a: a multiple of the tile's unless someRows
  int64_t firstColumn, columns;  // of c: [firstColumn, columns)
  int64_t k;
};

class TestKernel {
 public:
  static Result<TestKernel> compile(const TestProduct& product, const TestLevel& level);

  void operator()(const TestOperands& operands) const { function_(&operands); }
  const std::string& assembly() const { return assembly_; }

 private:
  using Function = void (*)(const TestOperands*);
  std::shared_ptr<void> library_;
  Function function_ = nullptr;
  std::string assembly_;
};

}  // namespace tessera::compiler::cpu
