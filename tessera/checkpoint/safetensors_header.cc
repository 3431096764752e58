// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "tessera/checkpoint/json_events.h"

namespace tessera::checkpoint {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, kDTypeCount> kNames = {{
    {DType::i1, "BOOL"},
    {DType::i8, "I8"},
    {DType::u8, "U8"},
    {DType::i16, "I16"},
    {DType::i32, "I32"},
    {DType::u32, "U32"},
    {DType::i64, "I64"},
    {DType::f32, "F32"},
    {DType::f64, "F64"},
    {DType::bf16, "BF16"},
    {DType::f16, "F16"},
    {DType::f8e4m3, "F8_E4M3"},
    {DType::f8e5m2, "F8_E5M2"},
    {DType::f8e8m0, "F8_E8M0"},
    {DType::f4e2m1, "F4"},
}};

/// Follows the events of one header.
class HeaderReader : public JsonEvents {
 public:
  SafetensorsHeader header;
  bool is_unsupported = false;  // valid, but beyond us

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::begin: state_ = State::top; return true;
      case State::tensor_begin: state_ = State::tensor; return true;
      case State::metadata_begin: state_ = State::metadata; return true;
      default: return unexpected("an object");
    }
  }
  bool key(string_t& key) override {
    switch (state_) {
      case State::top:
        if (key == "__metadata__") {
          state_ = State::metadata_begin;
        } else {
          tensor_ = {};
          tensor_.name = std::move(key);
          has_dtype_ = has_shape_ = has_offsets_ = false;
          state_ = State::tensor_begin;
        }
        return true;
      case State::metadata:
        metadata_key_ = std::move(key);
        state_ = State::metadata_value;
        return true;
      case State::tensor: return field(key);
      default: return unexpected("a key");
    }
  }
  bool string(string_t& text) override {
    if (state_ == State::metadata_value) {
      if (!header.metadata.emplace(metadata_key_, std::move(text)).second)
        return refuse(fmt::format("__metadata__ has the key \"{}\" twice", metadata_key_));
      state_ = State::metadata;
      return true;
    }
    if (state_ != State::dtype) return unexpected(fmt::format("\"{}\"", text));
    const auto dtype = parse_safetensors_dtype(text);
    if (!dtype) {
      is_unsupported = true;
      return refuse(fmt::format("tensor \"{}\" has the unknown dtype \"{}\"; known are {}",
                                tensor_.name, text, known_dtypes()));
    }
    tensor_.dtype = *dtype;
    state_ = State::tensor;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (state_ != State::shape && state_ != State::offsets)
      return unexpected(fmt::format("{}", value));
    if (count_ == numbers_.size()) {
      is_unsupported = state_ == State::shape;
      return refuse(fmt::format("tensor \"{}\": {} has more than {} numbers", tensor_.name,
                                is_unsupported ? "shape" : "data_offsets", numbers_.size()));
    }
    numbers_[count_++] = value;
    return true;
  }
  bool start_array(std::size_t) override {
    if (state_ != State::shape_begin && state_ != State::offsets_begin) return unexpected("a list");
    state_ = state_ == State::shape_begin ? State::shape : State::offsets;
    count_ = 0;
    return true;
  }
  bool end_array() override {
    if (state_ == State::offsets) {
      if (count_ != 2)
        return refuse(fmt::format("tensor \"{}\": data_offsets has {} numbers instead of 2",
                                  tensor_.name, count_));
      tensor_.begin = numbers_[0];
      tensor_.end = numbers_[1];
    } else {
      std::array<int64_t, Shape::kMaxRank> extents{};
      for (size_t i = 0; i < count_; ++i) {
        if (!std::in_range<int64_t>(numbers_[i]))
          return refuse(
              fmt::format("tensor \"{}\": the extent {} is too large", tensor_.name, numbers_[i]));
        extents[i] = static_cast<int64_t>(numbers_[i]);
      }
      tensor_.shape = Shape(std::span(extents.data(), count_));
    }
    state_ = State::tensor;
    return true;
  }
  bool end_object() override {
    if (state_ == State::top) {
      state_ = State::end;
    } else if (state_ == State::metadata) {
      state_ = State::top;
    } else {
      if (!has_dtype_ || !has_shape_ || !has_offsets_)
        return refuse(fmt::format("tensor \"{}\" has no {}", tensor_.name,
                                  !has_dtype_   ? "dtype"
                                  : !has_shape_ ? "shape"
                                                : "data_offsets"));
      header.tensors.push_back(std::move(tensor_));
      state_ = State::top;
    }
    return true;
  }

 protected:
  std::string place() const override {
    switch (state_) {
      case State::begin:
      case State::top:
      case State::end: return "the header";
      case State::metadata_begin:
      case State::metadata:
      case State::metadata_value: return "__metadata__";
      case State::shape_begin:
      case State::shape: return fmt::format("tensor \"{}\", shape", tensor_.name);
      case State::offsets_begin:
      case State::offsets: return fmt::format("tensor \"{}\", data_offsets", tensor_.name);
      case State::dtype: return fmt::format("tensor \"{}\", dtype", tensor_.name);
      default: return fmt::format("tensor \"{}\"", tensor_.name);
    }
  }

 private:
  enum class State {
    begin,
    top,
    end,
    metadata_begin,
    metadata,
    metadata_value,
    tensor_begin,
    tensor,
    dtype,
    shape_begin,
    shape,
    offsets_begin,
    offsets,
  };

  bool field(const std::string& key) {
    bool* seen = nullptr;
    if (key == "dtype") {
      seen = &has_dtype_;
      state_ = State::dtype;
    } else if (key == "shape") {
      seen = &has_shape_;
      state_ = State::shape_begin;
    } else if (key == "data_offsets") {
      seen = &has_offsets_;
      state_ = State::offsets_begin;
    } else {
      return refuse(fmt::format("tensor \"{}\" has the unknown field \"{}\"", tensor_.name, key));
    }
    if (std::exchange(*seen, true))
      return refuse(fmt::format("tensor \"{}\" has {} twice", tensor_.name, key));
    return true;
  }

  static std::string known_dtypes() {
    std::string names;
    for (const auto& [dtype, name] : kNames) names += fmt::format("{} ", name);
    names.pop_back();
    return names;
  }

  State state_ = State::begin;
  TensorEntry tensor_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::string metadata_key_;
  std::array<uint64_t, Shape::kMaxRank> numbers_{};
  size_t count_ = 0;
};

/// Bytes of a tensor; nullopt when they do not fit 63 bits.
std::optional<uint64_t> bytes_of(DType dtype, const Shape& shape) {
  int64_t elements = 1;
  for (const int64_t extent : shape.extents())
    if (__builtin_mul_overflow(elements, extent, &elements)) return std::nullopt;
  int64_t all_bits = 0;
  if (__builtin_mul_overflow(elements, static_cast<int64_t>(bits(dtype)), &all_bits))
    return std::nullopt;
  return static_cast<uint64_t>(size_in_bytes(dtype, elements));
}

Result<> check_tensor(const TensorEntry& tensor) {
  const auto bytes = bytes_of(tensor.dtype, tensor.shape);
  if (!bytes)
    return corrupt(fmt::format("tensor \"{}\": {} {} does not fit 64 bits", tensor.name,
                               safetensors_name(tensor.dtype), tensor.shape.to_string()));
  if (tensor.begin > tensor.end)
    return corrupt(fmt::format("tensor \"{}\" ends at byte {}, before it begins at byte {}",
                               tensor.name, tensor.end, tensor.begin));
  if (tensor.end - tensor.begin != *bytes)
    return corrupt(fmt::format("tensor \"{}\": {} {} needs {} bytes, its data_offsets span {}",
                               tensor.name, safetensors_name(tensor.dtype),
                               tensor.shape.to_string(), *bytes, tensor.end - tensor.begin));
  return {};
}

/// Every byte of the data belongs to one tensor. `tensors` are in the order of their data.
Result<> check_cover(std::span<const TensorEntry> tensors, uint64_t data_bytes) {
  uint64_t end = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorEntry& tensor = tensors[i];
    if (tensor.begin < end)
      return corrupt(fmt::format("tensor \"{}\" [{}, {}) overlaps tensor \"{}\" [{}, {})",
                                 tensor.name, tensor.begin, tensor.end, tensors[i - 1].name,
                                 tensors[i - 1].begin, tensors[i - 1].end));
    if (tensor.begin > end)
      return corrupt(
          fmt::format("bytes {} to {} of the data, before tensor \"{}\", belong to no "
                      "tensor",
                      end, tensor.begin, tensor.name));
    end = tensor.end;
  }
  if (end > data_bytes)
    return corrupt(fmt::format(
        "truncated: the header promises {} bytes of data, the file has {} ({} are missing)", end,
        data_bytes, end - data_bytes));
  if (end < data_bytes)
    return corrupt(
        fmt::format("{} bytes follow the last tensor: the header promises {} bytes of "
                    "data, the file has {}",
                    data_bytes - end, end, data_bytes));
  return {};
}

Result<> check_unique(std::span<const TensorEntry> tensors) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorEntry& tensor : tensors) names.push_back(tensor.name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end()) return corrupt(fmt::format("tensor \"{}\" appears twice", *twice));
  return {};
}

}  // namespace

std::string_view safetensors_name(DType dtype) {
  return std::ranges::find(kNames, dtype, &decltype(kNames)::value_type::first)->second;
}

std::optional<DType> parse_safetensors_dtype(std::string_view name) {
  const auto found = std::ranges::find(kNames, name, &decltype(kNames)::value_type::second);
  if (found == kNames.end()) return std::nullopt;
  return found->first;
}

Result<SafetensorsHeader> SafetensorsHeader::read(std::span<const std::byte> file) {
  if (file.size() < 8)
    return corrupt(
        fmt::format("truncated: {} bytes, less than the 8 of a header's length", file.size()));
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | std::to_integer<uint64_t>(file[i]);
  if (length > kMaxBytes)
    return corrupt(fmt::format(
        "not a safetensors file: a header of {} bytes, at most {} are allowed", length, kMaxBytes));
  if (length > file.size() - 8)
    return corrupt(
        fmt::format("truncated: the header has {} bytes, the file has {} after its "
                    "length",
                    length, file.size() - 8));
  HeaderReader reader;
  Result<> read = reader.read({reinterpret_cast<const char*>(file.data()) + 8, length});
  if (!read.ok()) {
    if (reader.is_unsupported) read.error().code = ErrorCode::unsupported;
    return std::move(read).error();
  }
  SafetensorsHeader header = std::move(reader.header);
  header.data_offset = 8 + length;
  for (const TensorEntry& tensor : header.tensors) TESSERA_TRY(check_tensor(tensor));
  TESSERA_TRY(check_unique(header.tensors));
  std::ranges::stable_sort(header.tensors, {},
                           [](const TensorEntry& t) { return std::pair(t.begin, t.end); });
  TESSERA_TRY(check_cover(header.tensors, file.size() - header.data_offset));
  return header;
}

std::string SafetensorsHeader::print() const {
  std::string json = "{";
  const auto quote = [](const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) json += quote(key) + ":" + quote(value) + ",";
    json.back() = '}';
    json += ",";
  }
  for (const TensorEntry& tensor : tensors)
    json += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},",
                        quote(tensor.name), safetensors_name(tensor.dtype),
                        fmt::join(tensor.shape, ","), tensor.begin, tensor.end);
  if (json.size() > 1) json.pop_back();
  json += "}";
  json.append((64 - (8 + json.size()) % 64) % 64, ' ');
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(json.size() >> (8 * i));
  return text + json;
}

}  // namespace tessera::checkpoint
