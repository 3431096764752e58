// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/value.h"

#include <algorithm>
#include <bit>

#include "tessera/base/float_formats.h"

namespace tessera::chips::null {

void Value::fill_raw(uint64_t raw) {
  visit_width(dtype(), [&]<class T>(T) { std::ranges::fill(as<T>(), static_cast<T>(raw)); });
}

uint64_t raw_constant(DType dtype, int64_t value) {
  const float number = std::bit_cast<float>(static_cast<uint32_t>(value));
  switch (dtype) {
    case DType::bf16: return encode_bf16(number);
    case DType::f16: return encode_f16(number);
    case DType::f8e4m3: return encode_e4m3(number);
    case DType::f8e5m2: return encode_e5m2(number);
    case DType::f8e8m0: return encode_e8m0(number);
    case DType::f4e2m1: return encode_e2m1(number);
    default: return static_cast<uint64_t>(value);
  }
}

}  // namespace tessera::chips::null
