// SPDX-License-Identifier: Apache-2.0
// Hostile files and indexes: what is accepted lies inside the file, covers it once and prints to
// what it was read from.
#include "tessera/base/check.h"
#include "tessera/base/testing/fuzz_target.h"
#include "tessera/checkpoint/safetensors_header.h"
#include "tessera/checkpoint/weight_index.h"

namespace tessera::checkpoint {
namespace {

void try_file(std::span<const std::byte> file) {
  const auto header = SafetensorsHeader::read(file);
  if (!header.ok()) return;
  TESSERA_CHECK(header->data_offset <= file.size());
  uint64_t end = 0;
  for (const TensorEntry& tensor : header->tensors) {
    TESSERA_CHECK(tensor.begin == end && tensor.end >= end);
    end = tensor.end;
    TESSERA_CHECK(end - tensor.begin ==
                  static_cast<uint64_t>(size_in_bytes(tensor.dtype, tensor.shape.numel())));
  }
  TESSERA_CHECK(header->data_offset + end == file.size());

  std::string again = header->print();
  again.resize(again.size() + end);
  const auto reread = SafetensorsHeader::read(std::as_bytes(std::span(again)));
  TESSERA_CHECK(reread.ok(), "{}", reread.error().message);
  TESSERA_CHECK(reread->print() == header->print());
}

void try_index(std::string_view json) {
  const auto index = WeightIndex::parse(json);
  if (!index.ok()) return;
  for (const auto& weight : index->weights)
    TESSERA_CHECK(index->files.at(weight.file).find('/') == std::string::npos);
  const auto again = WeightIndex::parse(index->print());
  TESSERA_CHECK(again.ok() && again->print() == index->print());
}

}  // namespace
}  // namespace tessera::checkpoint

std::vector<std::string> fuzz_seeds() {
  using tessera::DType;
  tessera::checkpoint::SafetensorsHeader header;
  header.metadata = {{"format", "pt"}};
  header.tensors = {{"layers.0.w", DType::f8e4m3, {2, 3}, 0, 6},
                    {"layers.0.scale", DType::f8e8m0, {1, 1}, 6, 7},
                    {"none", DType::i64, {0, 5}, 7, 7},
                    {"gate", DType::f32, {}, 7, 11}};
  const std::string file = header.print() + std::string(11, 'x');
  std::string shortest = "\2" + std::string(7, '\0') + "{}";
  return {file, shortest,
          R"({"metadata":{"total_size":7},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})",
          R"({"weight_map":{"a":"../x"},"x":[[{"y":1e9}]]})"};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tessera::checkpoint::try_file(std::as_bytes(std::span(data, size)));
  tessera::checkpoint::try_index({reinterpret_cast<const char*>(data), size});
  return 0;
}
