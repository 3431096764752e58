// SPDX-License-Identifier: Apache-2.0
// As kv_norm_rope_insert, into a cache that stores codes and scales.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tessera/ops/attention/kernels/quantised_row.h"
#include "tessera/ops/norm/kv_norm_rope_insert.h"

namespace tessera::ops {

struct KvQuantInsert {
  static Signature signature() {
    return {
        .name = "kv_quant_insert",
        .family = "attention",
        .rows = "4,8,10,40",
        .summary = "kv norm, rope, quantisation and the write into the quantised cache, one pass.",
        .formula =
            "z = bf16(rms_norm(x[t], w)); z[D-64..] <- bf16(rope(z[D-64..])); row slots[t] of "
            "cache <- D-64 e4m3 "
            "codes of z / s, 64 bf16, (D-64)/64 e8m0 scales s of blocks of 64 (as act_quant), "
            "padded to 8 "
            "bytes; the padding and rows no slot names stay as they are\n"
            "x [T, D], w [D], cos, sin [P, 32] f32, positions [T] (left out: row t of the tables), "
            "slots [T], -1: "
            "not written, distinct; cache u8 [S, B], B = 584 for D = 512. kv_dequantise gives the "
            "bits that "
            "kv_norm_rope_insert stores.",
        .source = "vLLM's fp8_ds_mla cache row; model.py:503-530",
        .tensors = {in("x", "T,D", {DType::bf16, DType::f32}),
                    in("w", "D", {DType::bf16, DType::f32}),
                    optional(in("positions", "T", {DType::i32, DType::i64})),
                    in("cos", "P,32", {DType::f32}), in("sin", "P,32", {DType::f32}),
                    in("slots", "T", {DType::i32, DType::i64}), inout("cache", "S,B", {DType::u8})},
        .attributes = {{"eps", 1e-6}},
        .dynamic_dims = {"T", "P", "S"},
    };
  }

  static void plan(PlanBuilder& b) {
    constexpr int64_t kBlock = QuantisedRow::kBlock;
    const QuantisedRow row{b.dim("D")};
    const KvNormRopeInsert::Rows z = KvNormRopeInsert::rows_of(b, DType::bf16);
    std::vector<Arg> args = KvNormRopeInsert::row_args(b);
    const Arg cache = b.tensor("cache").with_access(Access::kWrite);
    for (const Arg& part : {row.codes(cache), row.rope(cache), row.scales(cache)})
      args.push_back(part);
    b.kernel("rows", {z.tiling.programs(b.dim("T"))}, args,
             [=](KernelBuilder& k, View x, View w, View positions, View cos, View sin, View slots,
                 View codes, View turned, View scales) {
               const auto nope = [&](Tile, Tile slot, Tile c, Tile v) {
                 const ActQuant::Blocks q = ActQuant::quantise(reshape(v, {z.blocks, kBlock}));
                 store(codes, {slot, c}, reshape(q.codes, {z.tile()}));
                 store(scales, {slot, c / kBlock},
                       reshape(ActQuant::stored_scale(q.exponent, DType::f8e8m0), {z.blocks}));
               };
               const auto rope = [&](Tile, Tile slot, Tile v) {
                 store(turned, {slot, 0}, cast(v, DType::bf16));
               };
               KvNormRopeInsert::for_rows(k, z, {x, w, positions, cos, sin, slots},
                                          /*all=*/false, nope, rope);
             });
  }

  static void reference(const Reference& r) {
    const QuantisedRow row{r.dim("D")};
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const auto slot = static_cast<int64_t>(r.in("slots").at({t}));
      if (slot < 0 || slot >= r.dim("S")) continue;
      const auto z = KvNormRopeInsert::reference_row(r, t, /*narrow=*/true).z;
      const auto set = [&](int64_t at, int64_t byte) {
        r.out("cache").set({slot, at}, static_cast<double>(byte));
      };
      for (int64_t b = 0; b < row.blocks(); ++b) {
        const int64_t first = 64 * b, count = std::min<int64_t>(64, row.nope() - first);
        const std::span<const double> block =
            std::span(z).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
        const int exponent = KvNormRopeInsert::reference_exponent(block);
        for (int64_t i = 0; i < count; ++i)
          set(first + i, encode_e4m3(std::ldexp(block[static_cast<size_t>(i)], -exponent)));
        set(row.scale_byte() + b, exponent + 127);
      }
      for (int64_t i = 0; i < Rope::kDims; ++i) {
        const uint16_t code = encode_bf16(z[static_cast<size_t>(row.nope() + i)]);
        set(row.rope_byte() + 2 * i, code & 0xff);
        set(row.rope_byte() + 2 * i + 1, code >> 8);
      }
    }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types own = {{"x", DType::bf16}, {"w", DType::bf16}, {"slots", DType::i32}};
    Types placed = own;
    placed["positions"] = DType::i32;
    const auto use = [](int64_t T, int64_t D, int64_t P, int64_t S, const Types& types,
                        std::string note = {}, std::map<std::string, double> attributes = {}) {
      return Case{.dims = {{"T", T}, {"D", D}, {"P", P}, {"S", S}, {"B", QuantisedRow{D}.bytes()}},
                  .dtypes = types,
                  .attributes = std::move(attributes),
                  .note = std::move(note)};
    };
    std::vector<Case> list = {
        use(1, 512, 1, 128, own),
        use(17, 512, 50, 19, placed, "some slots -1"),
        use(9, 128, 9, 9, own, "zero row", {{"eps", 0.3}}),
        use(5, 192, 5, 8, own, "some slots -1"),
        use(0, 512, 1, 4, own),
    };
    for (const Case& c : {use(1, 512, 1, 1024, own), use(512, 512, 512, 1024, own)})
      list.push_back(bench_case(c.dims, c.dtypes, c.attributes, c.note));
    return list;
  }

  static void fill(Inputs& in) {
    KvNormRopeInsert::fill(in);
    const QuantisedRow row{in.problem().dim("D")};
    for (int64_t s = 0; in.test_case().test && s < in.problem().dim("S"); ++s)
      row.fill(in, in.tensor("cache"), s, 0);
  }

  /// Rows are decoded and compared as kv_norm_rope_insert's are, padding byte by byte.
  static std::string check(const Check& c) {
    const HostTensor& got = c.got("cache");
    const Expected& want = c.want("cache");
    const QuantisedRow row{c.problem.dim("D")};
    KvNormRopeInsert::RowCheck rows("cache", got.extent(0) * row.width, 0x1p-8);
    for (int64_t s = 0; s < got.extent(0); ++s) {
      const auto got_byte = [&](int64_t at) { return got.at({s, at}); };
      const auto want_byte = [&](int64_t at) { return want.at({s, at}); };
      for (int64_t d = 0; d < row.width; ++d) {
        const double value = row.decoded(want_byte, d);
        std::string wrong =
            rows.element(s * row.width + d, row.decoded(got_byte, d), value, std::abs(value));
        if (!wrong.empty()) return wrong;
      }
      for (int64_t at = row.scale_byte() + row.blocks(); at < row.bytes(); ++at)
        if (got_byte(at) != want_byte(at))
          return fmt::format("cache: byte {} of row {} was overwritten", at, s);
    }
    return {};
  }
  static Tolerance tolerance(const Problem&) { return {}; }  // see check()

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    return {
        .bytes_read = elements * bits(p.dtype("x")) / 8 + 264.0 * static_cast<double>(p.dim("T")),
        .bytes_written = static_cast<double>(p.dim("T") * p.dim("B")),
        .flops = 8 * elements};
  }
};

}  // namespace tessera::ops
