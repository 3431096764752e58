// SPDX-License-Identifier: Apache-2.0
// For tests: a file of vectors, made of tensors that a test may change or leave out.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tessera/base/element.h"
#include "tessera/checkpoint/safetensors_writer.h"

namespace tessera::model::deepseek_v4 {

class GoldenWriter {
 public:
  struct Values {
    DType dtype;
    Shape shape;
    std::vector<double> values;
  };

  /// One value for all elements.
  void set(const std::string& name, DType dtype, const Shape& shape, double value) {
    set(name, dtype, shape, std::vector<double>(static_cast<size_t>(shape.numel()), value));
  }
  void set(const std::string& name, DType dtype, const Shape& shape, std::vector<double> values) {
    tensors_[name] = {dtype, shape, std::move(values)};
  }
  void remove(const std::string& name) { tensors_.erase(name); }
  Values& operator[](const std::string& name) { return tensors_.at(name); }

  void write(const std::filesystem::path& path) const {
    std::vector<checkpoint::TensorSpec> specs;
    for (const auto& [name, tensor] : tensors_) specs.push_back({name, tensor.dtype, tensor.shape});
    auto writer = checkpoint::SafetensorsWriter::create(path, specs).value();
    for (const auto& [name, tensor] : tensors_) {
      std::vector<std::byte> bytes(
          static_cast<size_t>(size_in_bytes(tensor.dtype, tensor.shape.numel())));
      for (int64_t i = 0; i < tensor.shape.numel(); ++i)
        store_from_double(tensor.dtype, bytes.data(), i, tensor.values[static_cast<size_t>(i)]);
      writer.write(name, bytes).value();
    }
    writer.finish().value();
  }

 private:
  std::map<std::string, Values> tensors_;
};

}  // namespace tessera::model::deepseek_v4
