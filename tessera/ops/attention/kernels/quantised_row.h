// SPDX-License-Identifier: Apache-2.0
// A row of the quantised KV cache: e4m3 codes of the dimensions without rope, the 64 dimensions
// with rope as bf16, one e8m0 scale for 64 codes, padded to 8 bytes. 584 bytes for 512 dimensions.
#pragma once

#include <cmath>

#include "tessera/base/float_formats.h"
#include "tessera/ops/frame/host_tensor.h"
#include "tessera/ops/quant/act_quant.h"
#include "tessera/ops/quant/act_quant_simulate.h"
#include "tessera/ops/rope/rope.h"

namespace tessera::ops {

struct QuantisedRow {
  static constexpr int64_t kBlock = ActQuantSimulate::kBlock;

  int64_t width;  // dimensions

  int64_t nope() const { return width - Rope::kDims; }
  int64_t blocks() const { return (nope() + kBlock - 1) / kBlock; }
  int64_t rope_byte() const { return nope(); }
  int64_t scale_byte() const { return nope() + 2 * Rope::kDims; }
  int64_t bytes() const { return round_up(scale_byte() + blocks(), 8); }

  // ---- the parts of `rows`, a u8 argument [R, bytes()], as views ----
  Arg codes(const Arg& rows) const { return part(rows, DType::f8e4m3, 0, nope()); }
  Arg all_bytes_as_codes(const Arg& rows) const { return part(rows, DType::f8e4m3, 0, bytes()); }
  Arg rope(const Arg& rows) const { return part(rows, DType::bf16, rope_byte(), Rope::kDims); }
  Arg scales(const Arg& rows) const { return part(rows, DType::f8e8m0, scale_byte(), blocks()); }

  // ---- for references ----
  /// Dimension d of the row whose bytes byte_at(i) gives.
  template <class ByteAt>
  double decoded(ByteAt byte_at, int64_t d) const {
    const auto byte = [&](int64_t at) { return static_cast<uint8_t>(byte_at(at)); };
    if (d < nope())
      return std::ldexp(double{decode_e4m3(byte(d))}, byte(scale_byte() + d / kBlock) - 127);
    const int64_t at = rope_byte() + 2 * (d - nope());
    return decode_bf16(static_cast<uint16_t>(byte(at) | byte(at + 1) << 8));
  }
  /// Random codes with scales near 2^exponent.
  void fill(Inputs& in, HostTensor& rows, int64_t row, int exponent) const {
    const auto set = [&](int64_t at, int64_t byte) {
      rows.set({row, at}, static_cast<double>(byte));
    };
    for (int64_t d = 0; d < nope(); ++d) set(d, encode_e4m3(static_cast<float>(in.normal(64))));
    for (int64_t i = 0; i < Rope::kDims; ++i) {
      const uint16_t code = encode_bf16(in.normal(std::ldexp(64, exponent)));
      set(rope_byte() + 2 * i, code & 0xff);
      set(rope_byte() + 2 * i + 1, code >> 8);
    }
    for (int64_t b = 0; b < blocks(); ++b)
      set(scale_byte() + b, 127 + exponent + in.integer(-1, 1));
  }

 private:
  static Arg part(const Arg& rows, DType dtype, int64_t byte, int64_t elements) {
    Arg arg = rows;
    arg.dtype = dtype;
    arg.byte_offset += byte;
    arg.shape = {rows.shape[0], elements};
    arg.strides = {rows.strides[0] / (bits(dtype) / 8), 1};
    arg.dynamic = {true, false};
    return arg;
  }
};

}  // namespace tessera::ops
