// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/safetensors_writer.h"

#include <fmt/format.h>

#include <set>
#include <utility>

namespace tessera::checkpoint {

Result<SafetensorsHeader> make_header(std::span<const TensorSpec> tensors,
                                      std::map<std::string, std::string> metadata) {
  SafetensorsHeader header;
  header.metadata = std::move(metadata);
  std::set<std::string_view> names;
  uint64_t end = 0;
  for (const TensorSpec& spec : tensors) {
    if (!names.insert(spec.name).second)
      return invalid_argument(fmt::format("tensor \"{}\" appears twice", spec.name));
    const uint64_t begin = end;
    end += static_cast<uint64_t>(size_in_bytes(spec.dtype, spec.shape.numel()));
    header.tensors.push_back({spec.name, spec.dtype, spec.shape, begin, end});
  }
  header.data_offset = header.print().size();
  return header;
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path,
                                                    std::span<const TensorSpec> tensors,
                                                    std::map<std::string, std::string> metadata) {
  TESSERA_ASSIGN(SafetensorsHeader header, make_header(tensors, std::move(metadata)));
  TESSERA_ASSIGN(AtomicFile file, AtomicFile::create(path));
  const std::string text = header.print();
  TESSERA_TRY(file.write(std::as_bytes(std::span(text))));
  SafetensorsWriter writer(std::move(file), std::move(header));
  writer.advance();
  return writer;
}

void SafetensorsWriter::advance() {
  while (current_ < header_.tensors.size() && written_ == header_.tensors[current_].end) ++current_;
}

Result<> SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  if (current_ == header_.tensors.size())
    return invalid_argument(
        fmt::format("{} bytes for tensor \"{}\": all tensors are complete", bytes.size(), name));
  const TensorEntry& tensor = header_.tensors[current_];
  if (tensor.name != name)
    return invalid_argument(
        fmt::format("data for tensor \"{}\" while tensor \"{}\" lacks {} of {} bytes", name,
                    tensor.name, tensor.end - written_, tensor.end - tensor.begin));
  if (bytes.size() > tensor.end - written_)
    return invalid_argument(fmt::format("{} bytes for tensor \"{}\", which has room for {} of {}",
                                        bytes.size(), name, tensor.end - written_,
                                        tensor.end - tensor.begin));
  TESSERA_TRY(file_.write(bytes));
  written_ += bytes.size();
  advance();
  return {};
}

Result<> SafetensorsWriter::finish() {
  if (current_ < header_.tensors.size()) {
    const TensorEntry& tensor = header_.tensors[current_];
    return invalid_argument(fmt::format(
        "tensor \"{}\" lacks {} of {} bytes, and {} tensors follow", tensor.name,
        tensor.end - written_, tensor.end - tensor.begin, header_.tensors.size() - current_ - 1));
  }
  return file_.commit();
}

}  // namespace tessera::checkpoint
