// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/host_tensor.h"

#include <cmath>
#include <limits>

#include "tessera/base/check.h"
#include "tessera/base/element.h"

namespace tessera::ops {
namespace {

int64_t row_major(const Shape& shape, std::initializer_list<int64_t> index) {
  TESSERA_CHECK(index.size() == shape.size(), "{} indices for shape {}", index.size(),
                shape.to_string());
  int64_t position = 0;
  int dim = 0;
  for (int64_t i : index) {
    const int64_t extent = shape.begin()[dim++];
    TESSERA_CHECK(i >= 0 && i < extent, "index {} of dimension {} of {}", i, dim - 1,
                  shape.to_string());
    position = position * extent + i;
  }
  return position;
}

constexpr double kUnset = -1, kAny = std::numeric_limits<double>::infinity();

}  // namespace

HostTensor::HostTensor(TensorDesc desc) : desc_(std::move(desc)), bytes_(desc_.bytes()) {}

int64_t HostTensor::flat_offset(int64_t element) const {
  if (desc_.strides.empty()) return element;
  int64_t offset = 0;
  for (int dim = desc_.shape.rank() - 1; dim >= 0; --dim) {
    const int64_t extent = desc_.shape[dim];
    offset += element % extent * desc_.strides[static_cast<size_t>(dim)];
    element /= extent;
  }
  return offset;
}

double HostTensor::at(std::initializer_list<int64_t> index) const {
  return flat(row_major(desc_.shape, index));
}

void HostTensor::set(std::initializer_list<int64_t> index, double value) {
  set_flat(row_major(desc_.shape, index), value);
}

double HostTensor::flat(int64_t element) const {
  if (!decoded_.empty()) return decoded_[static_cast<size_t>(element)];
  return load_as_double(desc_.dtype, bytes_.data(), flat_offset(element));
}

void HostTensor::set_flat(int64_t element, double value) {
  decoded_.clear();
  store_from_double(desc_.dtype, bytes_.data(), flat_offset(element), value);
}

void HostTensor::decode() {
  decoded_.clear();
  std::vector<double> values(static_cast<size_t>(numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = flat(static_cast<int64_t>(i));
  decoded_ = std::move(values);
}

Expected::Expected(TensorDesc desc)
    : desc_(std::move(desc)),
      values_(static_cast<size_t>(desc_.shape.numel())),
      magnitudes_(values_.size(), kUnset) {}

int64_t Expected::flat_index(std::initializer_list<int64_t> index) const {
  return row_major(desc_.shape, index);
}

void Expected::set(std::initializer_list<int64_t> index, double value, double magnitude) {
  set_flat(flat_index(index), value, magnitude);
}

void Expected::set_flat(int64_t element, double value, double magnitude) {
  values_[static_cast<size_t>(element)] = value;
  magnitudes_[static_cast<size_t>(element)] = std::abs(magnitude);
}

double Expected::at(std::initializer_list<int64_t> index) const { return value(flat_index(index)); }

void Expected::set_any(std::initializer_list<int64_t> index) {
  magnitudes_[static_cast<size_t>(flat_index(index))] = kAny;
}
bool Expected::is_set(int64_t element) const {
  return magnitudes_[static_cast<size_t>(element)] != kUnset;
}
bool Expected::is_any(int64_t element) const {
  return magnitudes_[static_cast<size_t>(element)] == kAny;
}

}  // namespace tessera::ops
