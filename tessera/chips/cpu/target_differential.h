// SPDX-License-Identifier: Apache-2.0
// For the tests of the target: runs one kernel by the null chip's interpreter and compiled for
// every level this machine has, on the same tensors.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tessera/base/element.h"
#include "tessera/compiler/target.h"
#include "tessera/lang/kernel_builder.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::chips::cpu {

struct TestTensor {
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  int64_t size() const {
    int64_t elements = 1;
    for (int64_t extent : shape) elements *= extent;
    return elements;
  }
  float at(int64_t i) const { return load_as_float(dtype, bytes.data(), i); }
};

/// `value(i)` for element i in row-major order, rounded to the dtype.
template <class Function>
TestTensor tensor(DType dtype, std::vector<int64_t> shape, Function value) {
  TestTensor t{dtype, std::move(shape), {}};
  t.bytes.resize(static_cast<size_t>(size_in_bytes(dtype, t.size())));
  for (int64_t i = 0; i < t.size(); ++i) {
    if constexpr (std::is_integral_v<std::invoke_result_t<Function, int64_t>>)
      store_from_int(dtype, t.bytes.data(), i, value(i));
    else
      store_from_double(dtype, t.bytes.data(), i, value(i));
  }
  return t;
}

class Differential {
 public:
  explicit Differential(std::vector<TestTensor> tensors) : tensors_(std::move(tensors)) {}

  std::vector<uint64_t> scalars;

  /// Largest distance in units of the last place that two f32 results may have; 0 = equal bits (NaN
  /// equals NaN).
  int64_t ulps = 0;
  /// In addition: absolute difference.
  double tolerance = 0;

  /// Runs on the null chip and every level, and compares all tensors.
  void run(const std::function<void(lang::KernelBuilder&)>& body, runtime::Grid grid = {});

  /// The tensor after the run on the level that ran last.
  const TestTensor& result(size_t index) const { return results_[index]; }
  /// Levels to run on; all unless set.
  std::vector<std::string> levels = {"sse2", "avx2", "avx512"};
  compiler::CompileOptions options;

 private:
  std::vector<TestTensor> execute(const std::string& device, const lang::Trace& trace,
                                  runtime::Grid grid);
  void compare(const std::string& level, const std::vector<TestTensor>& expected);

  std::vector<TestTensor> tensors_, results_;
};

/// The targets of the chips a test needs, found by arch.
Result<runtime::KernelImage> compileFor(std::string_view arch, const lang::Trace& trace,
                                        const compiler::CompileOptions& options = {});

}  // namespace tessera::chips::cpu
