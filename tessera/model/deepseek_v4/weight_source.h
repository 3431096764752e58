// SPDX-License-Identifier: Apache-2.0
// Where the tensors of a model come from: a checkpoint's mapped files, random numbers for
// measurements, or nowhere when only shapes are wanted.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/ops/frame/problem.h"
#include "tessera/runtime/device.h"

namespace tessera::model::deepseek_v4 {

/// A tensor on a device; the default one is absent.
struct DeviceTensor {
  ops::TensorDesc desc;
  uint64_t address = 0;
  bool present = false;
  explicit operator bool() const { return present; }
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  WeightSource() = default;
  WeightSource(const WeightSource&) = delete;
  WeightSource& operator=(const WeightSource&) = delete;

  /// The tensor of that name as the weight table describes it, or this rank's part. e2m1 shapes
  /// count elements.
  virtual Result<DeviceTensor> tensor(std::string_view name) = 0;
  /// Bytes of the tensors given so far: those that stay where a file has them, and those in memory
  /// of their own.
  struct Held {
    uint64_t mapped = 0, copied = 0;
  };
  virtual Held held() const { return {}; }
  /// Small numbers made by us, on the device.
  virtual Result<DeviceTensor> table(std::span<const int64_t> numbers) = 0;
};

}  // namespace tessera::model::deepseek_v4
