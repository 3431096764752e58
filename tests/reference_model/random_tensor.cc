// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/random_tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "tessera/base/check.h"
#include "tessera/base/float_formats.h"

namespace tessera::reference_model {
namespace {

/// Random bits of item `index` of a stream (Steele, Lea, Flood: SplitMix64).
uint64_t random_bits(uint64_t stream, uint64_t index) {
  uint64_t z = stream + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// A stream of its own for each name (FNV-1a).
uint64_t stream_of(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return random_bits(hash, seed);
}

/// Mean 0, deviation 1, at most 2 sqrt(3): the sum of four uniform numbers.
double about_normal(uint64_t bits) {
  double sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<double>((bits >> (16 * i)) & 0xffff);
  return (sum / 65535 - 2) * std::sqrt(3.0);
}

/// The E8M0 code of a block: the largest number fits; some blocks have room to spare.
uint8_t block_scale(uint64_t scale_stream, int64_t block, double deviation, bool fp4) {
  const float largest = static_cast<float>(3.5 * deviation);
  const int code = pow2_scale_e8m0(largest, fp4 ? DType::f4e2m1 : DType::f8e4m3);
  return static_cast<uint8_t>(code + random_bits(scale_stream, block) % (fp4 ? 2 : 3));
}

template <class T>
void put(std::vector<std::byte>& bytes, T value) {
  const size_t at = bytes.size();
  bytes.resize(at + sizeof(T));
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

std::string scale_name(const std::string& weight) {
  return weight.substr(0, weight.rfind(".weight")) + ".scale";
}

}  // namespace

int64_t RandomTensor::bytes() const {
  const int64_t element = dtype == "I64" ? 8 : dtype == "F32" ? 4 : dtype == "BF16" ? 2 : 1;
  return rows() * cols() * element;
}

std::vector<std::byte> RandomTensor::make_row(uint64_t seed, int64_t row) const {
  std::vector<std::byte> bytes;
  bytes.reserve(this->bytes() / rows());
  const uint64_t stream = stream_of(seed, name);
  const auto value = [&](int64_t index) {
    return mean + deviation * about_normal(random_bits(stream, index));
  };
  switch (fill) {
    case Fill::number:
      for (int64_t i = row * cols(); i < (row + 1) * cols(); ++i) {
        if (dtype == "F32")
          put(bytes, static_cast<float>(value(i)));
        else
          put(bytes, encode_bf16(value(i)));
      }
      break;
    case Fill::code: {
      const int64_t width = fp4 ? 2 * cols() : cols(), block = fp4 ? 32 : 128;
      const int64_t scale_row = (fp4 ? row : row / 128) * ((width + block - 1) / block);
      const uint64_t scales = stream_of(seed, scale_name(name));
      double scale = 0;
      for (int64_t i = 0; i < width; ++i) {
        if (i % block == 0)
          scale = decode_e8m0(block_scale(scales, scale_row + i / block, deviation, fp4));
        const double scaled = value(row * width + i) / scale;
        if (!fp4)
          put(bytes, encode_e4m3(scaled));
        else if (i % 2 == 0)
          put(bytes, encode_e2m1(scaled));
        else
          bytes.back() |= std::byte(encode_e2m1(scaled) << 4);
      }
      break;
    }
    case Fill::scale:
      for (int64_t i = row * cols(); i < (row + 1) * cols(); ++i)
        put(bytes, block_scale(stream, i, deviation, fp4));
      break;
    case Fill::choice: {
      TESSERA_CHECK(cols() <= below, "{} distinct numbers below {}", cols(), below);
      std::vector<int64_t> chosen;
      for (uint64_t draw = 0; static_cast<int64_t>(chosen.size()) < cols(); ++draw) {
        const int64_t number = random_bits(stream + row * 0x632be59bd9b4e019u, draw) % below;
        if (std::find(chosen.begin(), chosen.end(), number) == chosen.end())
          chosen.push_back(number);
      }
      for (const int64_t number : chosen) put(bytes, number);
      break;
    }
  }
  return bytes;
}

}  // namespace tessera::reference_model
