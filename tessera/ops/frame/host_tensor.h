// SPDX-License-Identifier: Apache-2.0
// A tensor in host memory, as references read and write it: element access in double, by index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "tessera/ops/frame/problem.h"

namespace tessera::ops {

class HostTensor {
 public:
  HostTensor() = default;
  explicit HostTensor(TensorDesc desc);  // zero-filled

  const TensorDesc& desc() const { return desc_; }
  DType dtype() const { return desc_.dtype; }
  int64_t extent(int dim) const { return desc_.shape[dim]; }
  /// The stored value, exact. Integers are exact up to 2^53.
  double at(std::initializer_list<int64_t> index) const;
  /// Rounds once to the dtype (see base/element.h).
  void set(std::initializer_list<int64_t> index, double value);
  double flat(int64_t element) const;  // by row-major position
  void set_flat(int64_t element, double value);
  int64_t numel() const { return desc_.shape.numel(); }
  std::vector<std::byte>& bytes() {
    decoded_.clear();
    return bytes_;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  /// Keeps all elements as doubles until the next write, for references that read them many times.
  void decode();

 private:
  int64_t flat_offset(int64_t element) const;
  TensorDesc desc_;
  std::vector<std::byte> bytes_;
  std::vector<double> decoded_;  // empty: not decoded
};

/// What a reference computes for one output: the exact value before the final rounding to the
/// output dtype, and the magnitude that rounding errors scale with (sum |a||b| for a dot; 0 =
/// |value|).
class Expected {
 public:
  explicit Expected(TensorDesc desc);
  void set(std::initializer_list<int64_t> index, double value, double magnitude = 0);
  void set_flat(int64_t element, double value, double magnitude = 0);
  double value(int64_t element) const { return values_[element]; }
  double magnitude(int64_t element) const { return magnitudes_[element]; }
  double at(std::initializer_list<int64_t> index) const;
  /// Any value is right here (padding the operator does not define).
  void set_any(std::initializer_list<int64_t> index);
  bool is_set(int64_t element) const;
  bool is_any(int64_t element) const;
  const TensorDesc& desc() const { return desc_; }

 private:
  int64_t flat_index(std::initializer_list<int64_t> index) const;
  TensorDesc desc_;
  std::vector<double> values_, magnitudes_;
};

}  // namespace tessera::ops
