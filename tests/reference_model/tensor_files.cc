// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/tensor_files.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "tessera/base/float_formats.h"

namespace tessera::reference_model {
namespace {

double element(const StoredTensor& tensor, int64_t i) {
  const auto read = [&]<class T>(T value) {
    std::memcpy(&value, tensor.bytes.data() + i * sizeof(T), sizeof(T));
    return value;
  };
  if (tensor.dtype == "F32") return read(float{});
  if (tensor.dtype == "BF16") return decode_bf16(read(uint16_t{}));
  if (tensor.dtype == "I32") return read(int32_t{});
  if (tensor.dtype == "I64") return static_cast<double>(read(int64_t{}));
  TESSERA_UNREACHABLE("no plain number: {}", tensor.dtype);
}

int64_t element_bytes(const std::string& dtype) {
  if (dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  return dtype == "BF16" ? 2 : 1;
}

}  // namespace

Result<TensorFiles> TensorFiles::open(const std::filesystem::path& path) {
  TensorFiles files;
  if (!std::filesystem::is_directory(path)) {
    TESSERA_TRY(files.add_file(path));
    return files;
  }
  const auto index_path = path / "model.safetensors.index.json";
  if (!std::filesystem::exists(index_path)) {
    TESSERA_TRY(files.add_file(path / "model.safetensors"));
    return files;
  }
  TESSERA_ASSIGN(const MappedFile index_file, MappedFile::open(index_path));
  const auto index = nlohmann::json::parse(index_file.text(), nullptr, false);
  if (!index.is_object() || !index.contains("weight_map"))
    return corrupt(fmt::format("{}: no weight_map", index_path.string()));
  std::set<std::string> names;
  for (const auto& entry : index["weight_map"].items()) names.insert(entry.value());
  for (const auto& name : names) TESSERA_TRY(files.add_file(path / name));
  return files;
}

Result<> TensorFiles::add_file(const std::filesystem::path& path) {
  TESSERA_ASSIGN(MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  uint64_t header_bytes = 0;
  if (bytes.size() < 8) return corrupt(fmt::format("{}: {} bytes", path.string(), bytes.size()));
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > bytes.size() - 8)
    return corrupt(fmt::format("{}: header of {} bytes", path.string(), header_bytes));
  const auto header = nlohmann::json::parse(file.text().substr(8, header_bytes), nullptr, false);
  if (!header.is_object()) return corrupt(fmt::format("{}: bad header", path.string()));
  const auto data = bytes.subspan(8 + header_bytes);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    StoredTensor tensor{entry["dtype"], entry["shape"], {}};
    const uint64_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    uint64_t count = 1;
    for (const int64_t extent : tensor.shape) count *= extent;
    if (end < begin || end > data.size() || end - begin != count * element_bytes(tensor.dtype))
      return corrupt(fmt::format("{}: {} lies at [{}, {}) of {} bytes", path.string(), name, begin,
                                 end, data.size()));
    tensor.bytes = data.subspan(begin, end - begin);
    tensors_[name] = std::move(tensor);
  }
  files_.push_back(std::move(file));
  return {};
}

const StoredTensor* TensorFiles::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

Rows TensorFiles::rows(const std::string& name) const {
  const StoredTensor* tensor = find(name);
  TESSERA_CHECK(tensor != nullptr, "no tensor {}", name);
  const int64_t cols = tensor->shape.back();
  const int64_t count = tensor->bytes.size() / element_bytes(tensor->dtype);
  Rows result(count / cols, cols);
  for (int64_t i = 0; i < count; ++i) result.values[i] = element(*tensor, i);
  return result;
}

std::vector<int64_t> TensorFiles::integers(const std::string& name) const {
  const Rows values = rows(name);
  return {values.values.begin(), values.values.end()};
}

}  // namespace tessera::reference_model
