// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/reduction.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tessera/base/check.h"
#include "tessera/base/float_formats.h"

namespace tessera::comm {
namespace {

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// `Stored` in memory, `Sum` while it is added up.
template <class Stored, class Sum, class Decode, class Encode>
void reduce(Reduction how, std::span<const std::byte* const> parts, std::span<std::byte> out,
            Decode decode, Encode encode) {
  for (size_t at = 0; at < out.size(); at += sizeof(Stored)) {
    Sum all = decode(load<Stored>(parts[0] + at));
    for (size_t i = 1; i < parts.size(); ++i) {
      const Sum one = decode(load<Stored>(parts[i] + at));
      // A NaN stays one.
      if (how == Reduction::sum)
        all += one;
      else if (!(one <= all) && all == all)
        all = one;
    }
    const Stored stored = encode(all);
    std::memcpy(&out[at], &stored, sizeof stored);
  }
}

}  // namespace

void reduce_in_order(DType dtype, Reduction how, std::span<const std::byte* const> parts,
                     std::span<std::byte> out) {
  const auto same = [](auto value) { return value; };
  switch (dtype) {
    case DType::f32: return reduce<float, float>(how, parts, out, same, same);
    case DType::i32: return reduce<int32_t, int32_t>(how, parts, out, same, same);
    case DType::bf16:
      return reduce<uint16_t, float>(
          how, parts, out, [](uint16_t bits) { return decode_bf16(bits); },
          [](float value) { return encode_bf16(value); });
    default: TESSERA_CHECK(false, "{} is not reduced", name(dtype));
  }
}

}  // namespace tessera::comm
