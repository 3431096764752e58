// SPDX-License-Identifier: Apache-2.0
// Attention of every head of a token over a list of cache rows that are keys and values at once.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/ops/attention/kernels/online_softmax.h"
#include "tessera/ops/attention/kernels/quantised_row.h"
#include "tessera/ops/attention/kernels/split_columns.h"
#include "tessera/ops/attention/kernels/split_keys.h"
#include "tessera/ops/attention/kv_dequantise.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/matrix_tiles.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct SparseAttention {
  static Signature signature() {
    return {
        .name = "sparse_attention",
        .family = "attention",
        .rows = "37,41",
        .summary = "attention over gathered rows with a sink in the denominator",
        .formula =
            "s[h,j] = q[t,h] . kv[i_j] * scale for i_j = indices[t,j] >= 0; m_h = max_j s[h,j]; p "
            "= exp(s - m) "
            "in f32; out[t,h] = sum_j rnd(p[h,j]) kv[i_j] / (sum_j p[h,j] + exp(sink[h] - m_h)), "
            "one rounding; "
            "0 where all indices are -1; rnd rounds to bf16, with f32 not at all, relative to the "
            "largest score of the entry's block of 64 and the blocks before it. q [T,H,D], kv "
            "[R,D] (K = V, "
            "shared by the heads) and out [T,H,D] are bf16 or f32, all the same; indices i32 "
            "[T,N], sink f32 "
            "[H]. Instead of kv the rows may be kv_quantised u8 [R,B] as kv_quant_insert writes "
            "them (D a power "
            "of two of at least 128): the same bits as with the rows that kv_dequantise gives.",
        .source = "kernel.py:277-352 sparse_attn_kernel, model.py:528-539",
        .tensors = {in("q", "T,H,D", {DType::bf16, DType::f32}),
                    optional(in("kv", "R,D", {DType::bf16, DType::f32})),
                    in("indices", "T,N", {DType::i32}), in("sink", "H", {DType::f32}),
                    out("out", "T,H,D", {DType::bf16, DType::f32}),
                    optional(in("kv_quantised", "R,B", {DType::u8}))},
        .attributes = {{"scale", 0.04419417382415922}},  // 512^-0.5
        .dynamic_dims = {"T", "R", "N"},
    };
  }

  /// Whether products of a block of keys are for the matrix unit: it takes all heads at once.
  static bool has_matrix_unit(const PlanBuilder& b) {
    return b.dtype("out") == DType::bf16 && has_matrix_tile(b.caps());
  }

  static OnlineSoftmax sizes(const PlanBuilder& b) {
    constexpr int64_t kBlock = OnlineSoftmax::kBlock;
    const int64_t H = b.dim("H"), width = pow2_ceil(b.dim("D"));
    const double scale = b.attribute("scale");
    if (has_matrix_unit(b))
      return {.heads = std::min(pow2_ceil(H), b.caps().matrix_tile[2].m),
              .width = width,
              .keys = kBlock,
              .indices = 1024,
              .scale = scale,
              .dtype = b.dtype("out"),
              .on_matrix_unit = true,
              .partial_sums = OnlineSoftmax::kQuads};
    // One token is all there is to share among the cores: fewer heads a program then, though each
    // program decodes quantised rows for itself.
    const int64_t few = b.has("kv") ? 16 : 32;
    return {.heads = std::min(pow2_ceil(H), b.m_class("T") == 1 ? few : b.caps().dot(H).m),
            .width = width,
            .keys = std::min(b.caps().attention_keys, kBlock),
            .indices = kBlock,
            .scale = scale,
            .dtype = b.dtype("out")};
  }

  static void plan(PlanBuilder& b) {
    const OnlineSoftmax z = sizes(b);
    const int64_t T = b.m_class("T"), N = b.dim("N");
    if (T <= 8 && N > SplitKeys::span(b, z))
      return z.on_matrix_unit && SplitColumns::pays(b) ? SplitColumns::plan(b, z)
                                                       : SplitKeys::plan(b, z);
    const bool first = decodes_first(b);
    std::vector<Arg> args = first ? std::vector{decoded(b)} : KeyRows::args(b);
    for (const char* name : {"q", "indices", "sink", "out"}) args.push_back(b.tensor(name));
    b.kernel_named(
        "attend" + (first ? "" : KeyRows::suffix(b)),
        {programs_for(b.dim("H"), z.heads), b.dim("T")}, args,
        [=](KernelBuilder& k, const NamedViews& v) {
          const View indices = v["indices"];
          const KeyRows kv(v, z.width, z.dtype);
          const Tile h = k.program_id(0) * z.heads, t = k.program_id(1);
          const Tile query = load(v["q"], {t, h, 0}, {z.heads, z.width});
          const Tile zero = k.index(0), end = z.last_used(k, indices, t, zero, indices.extent(1));
          const Tile never = z.never(k);
          const auto score = [&](Tile, Tile key, Tile index) {
            return z.scores_of(k, query, key, index);
          };
          const auto largest = [&](Tile block, Tile stop) {
            return k.for_range(block, stop, z.keys, lang::carry(never), [&](Tile j, Tile most) {
              const Tile index = z.indices_at(indices, t, j, end);
              const Tile scores = z.scores_of(k, query, kv.at(k, index), index);
              return lang::carry(max(most, reduce_max(scores, 1)));
            })[0];
          };
          const auto p = z.attend(k, kv, indices, t, zero, end, never, score, largest);
          z.store_finished(p, v["sink"], v["out"], t, h, 0);
        });
  }

  /// Bytes of decoded rows up to which they are decoded first: those of a sequence of a million
  /// tokens with an entry for each four of them, and its window.
  static constexpr int64_t kMostDecoded = 384 << 20;

  /// Many tokens read each quantised row again and again: for the matrix unit all rows are decoded
  /// once, as bf16, unless they are so many that most are not read; then where they are needed.
  static bool decodes_first(const PlanBuilder& b) {
    return !b.has("kv") && has_matrix_unit(b) && b.m_class("T") > 64 &&
           size_in_bytes(b.dtype("out"), b.dim("R") * b.dim("D")) <= kMostDecoded;
  }
  static Arg decoded(PlanBuilder& b) {
    const Arg cache = b.tensor("kv_quantised");
    const Arg rows = b.workspace("kv", b.dtype("out"), {b.dim("R"), b.dim("D")}, {true, false});
    KvDequantise::decode(b, QuantisedRow{b.dim("D")}, cache, std::nullopt,
                         rows.with_access(Access::kWrite), b.m_class("R"), 0);
    return rows.with_access(Access::kRead);
  }

  static double bf16(double value) { return decode_bf16(encode_bf16(value)); }

  /// The largest score of each entry's block and all blocks before it.
  static std::vector<double> largest_so_far(const std::vector<double>& score) {
    std::vector<double> largest(score.size());
    double most = OnlineSoftmax::kNever;
    for (size_t first = 0; first < score.size(); first += OnlineSoftmax::kBlock) {
      const size_t end = std::min(score.size(), first + OnlineSoftmax::kBlock);
      most = std::max(most, *std::max_element(score.begin() + first, score.begin() + end));
      std::fill(largest.begin() + first, largest.begin() + end, most);
    }
    return largest;
  }

  /// Whether f32 may round `p` otherwise: its distance from a tie, in half steps of bf16.
  static bool is_near_tie(double p) {
    const double rounded = bf16(p), half_step = std::ldexp(1.0, std::ilogb(p) - 8);
    return p > 0 && std::abs(p - rounded) / half_step > 0.99;
  }

  /// [R, D]
  static std::vector<double> decoded_rows(const Reference& r) {
    const int64_t R = r.dim("R"), D = r.dim("D");
    const QuantisedRow layout{D};
    std::vector<double> rows;
    rows.reserve(static_cast<size_t>(R * D));
    for (int64_t row = 0; row < R; ++row) {
      const auto byte = [&](int64_t at) { return r.in("kv_quantised").at({row, at}); };
      for (int64_t d = 0; d < D; ++d)
        rows.push_back(r.has("kv") ? r.in("kv").at({row, d}) : layout.decoded(byte, d));
    }
    return rows;
  }

  static void reference(const Reference& r) {
    const int64_t H = r.dim("H"), D = r.dim("D"), N = r.dim("N");
    const bool narrow = r.problem().dtype("out") == DType::bf16;
    const HostTensor &q = r.in("q"), &indices = r.in("indices");
    const auto rows = decoded_rows(r);
    const auto kv = [&](int64_t row, int64_t d) { return rows[static_cast<size_t>(row * D + d)]; };
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      std::vector<int64_t> row(static_cast<size_t>(N));
      for (int64_t j = 0; j < N; ++j) row[j] = static_cast<int64_t>(indices.at({t, j}));
      for (int64_t h = 0; h < H; ++h) {
        std::vector<double> score(row.size(), OnlineSoftmax::kNever);
        double most = OnlineSoftmax::kNever;
        for (size_t j = 0; j < row.size(); ++j) {
          if (row[j] < 0) continue;
          double dot = 0;
          for (int64_t d = 0; d < D; ++d) dot += q.at({t, h, d}) * kv(row[j], d);
          score[j] = dot * r.attribute("scale");
          most = std::max(most, score[j]);
        }
        if (most == OnlineSoftmax::kNever) {
          for (int64_t d = 0; d < D; ++d) r.out("out").set({t, h, d}, 0);
          continue;
        }
        double denominator = std::exp(r.in("sink").at({h}) - most);
        for (double s : score) denominator += std::exp(s - most);
        const std::vector<double> largest = largest_so_far(score);
        const auto weight = [&](size_t j) { return std::exp(score[j] - largest[j]); };
        bool sharp = narrow;
        for (size_t j = 0; j < row.size() && sharp; ++j)
          sharp = row[j] < 0 || !is_near_tie(weight(j));
        for (int64_t d = 0; d < D; ++d) {
          double sum = 0, magnitude = 0;
          for (size_t j = 0; j < row.size(); ++j) {
            if (row[j] < 0) continue;
            const double p = narrow ? bf16(weight(j)) : weight(j);
            const double term = p * std::exp(largest[j] - most) * kv(row[j], d);
            sum += term;
            magnitude += std::abs(term);
          }
          r.out("out").set({t, h, d}, sum / denominator,
                           magnitude / denominator / (sharp ? 32 : 1));
        }
      }
    }
  }

  /// Scores 0 (each 16th entry) and s < 0 with exp(s) nearly half a step of bf16 away from its
  /// neighbour: rounding p for the sum of rows, or not rounding it, or rounding it for the row sum
  /// too, all differ.
  static void fill_rounding(Inputs& in) {
    const int64_t D = in.problem().dim("D"), R = in.problem().dim("R");
    double s = -0.5;
    auto off = [&] {  // in half steps of numbers in [0.5, 1)
      return std::abs(std::exp(s) - bf16(std::exp(s))) * 0x1p9;
    };
    while (off() < 0.85 || off() > 0.95) s -= 0x1p-8;
    for (int64_t i = 0; i < in.tensor("q").numel(); ++i)
      in.tensor("q").set_flat(i, i % D == 0 ? 1 / in.problem().attribute("scale") : 0);
    for (int64_t i = 0; i < R * D; ++i)
      in.tensor("kv").set_flat(i, i % D != 0 ? in.uniform(0.5, 1.5) : i == 0 ? 0 : s);
    for (int64_t i = 0; i < in.tensor("indices").numel(); ++i)
      in.tensor("indices").set_flat(i,
                                    i % 16 == 0 ? 0.0 : static_cast<double>(in.integer(1, R - 1)));
  }

  static void fill(Inputs& in) {
    const Problem& p = in.problem();
    const std::string& note = in.test_case().note;
    const int64_t R = p.dim("R"), N = p.dim("N"), D = p.dim("D");
    // Scores of standard deviation 2.5 whatever D and the scale: order 1 to 10, so that they
    // decide.
    const double spread = 2.5 / (p.attribute("scale") * std::sqrt(static_cast<double>(D)));
    HostTensor &q = in.tensor("q"), &indices = in.tensor("indices"), &sink = in.tensor("sink");
    for (int64_t i = 0; i < q.numel(); ++i) q.set_flat(i, in.normal(spread));
    for (int64_t h = 0; h < sink.numel(); ++h)
      sink.set({h}, note == "sink dominates" ? 12 + in.normal() : in.normal(2));
    if (note == "no sink")
      for (int64_t h = 0; h < sink.numel(); ++h) sink.set({h}, OnlineSoftmax::kNever);
    std::vector<int64_t> order(static_cast<size_t>(R));
    for (int64_t i = 0; i < R; ++i) order[static_cast<size_t>(i)] = i;
    for (int64_t t = 0; t < p.dim("T"); ++t) {
      std::shuffle(order.begin(), order.end(), in.random());
      for (int64_t j = 0; j < N; ++j) {
        bool unused = j >= R;
        if (note == "holes") unused = unused || j % 3 == 1 || j < 70;  // the first blocks are empty
        if (note == "empty row" || note == "no sink") unused = unused || t == 1;
        if (note == "short") unused = unused || j >= 5 + t;
        indices.set({t, j}, unused ? -1.0 : static_cast<double>(order[static_cast<size_t>(j)]));
      }
    }
    if (note == "rounding") fill_rounding(in);
    // Codes have a standard deviation of 64.
    for (int64_t row = 0; p.has("kv_quantised") && row < R; ++row)
      QuantisedRow{D}.fill(in, in.tensor("kv_quantised"), row, -6);
  }

  static std::vector<Case> cases() {
    auto use = [](int64_t T, int64_t H, int64_t D, int64_t R, int64_t N, std::string note = {},
                  DType dtype = DType::bf16) {
      return Case{.dims = {{"T", T}, {"H", H}, {"D", D}, {"R", R}, {"N", N}},
                  .dtypes = {{"q", dtype}, {"kv", dtype}, {"out", dtype}},
                  .attributes = {{"scale", 1 / std::sqrt(static_cast<double>(D))}},
                  .note = std::move(note)};
    };
    std::vector<Case> list = {
        use(1, 64, 512, 100, 70),
        use(2, 8, 512, 150, 128),
        use(1, 16, 128, 700, 640, "split"),
        use(1, 4, 64, 1500, 1400, "split"),
        use(3, 8, 64, 300, 300, "split"),
        use(9, 8, 64, 300, 257),
        use(2, 8, 64, 300, 250, "holes"),
        use(10, 4, 64, 300, 130, "holes"),
        use(3, 8, 64, 400, 260, "empty row"),
        use(9, 8, 64, 100, 65, "empty row"),
        use(2, 8, 64, 400, 390, "short"),
        use(2, 8, 64, 200, 192, "sink dominates"),
        use(12, 8, 64, 200, 100, "sink dominates"),
        use(2, 8, 64, 90, 80, "no sink"),
        use(1, 4, 64, 40, 32, "rounding"),
        use(2, 8, 64, 100, 320, "rounding"),
        use(9, 4, 64, 100, 144, "rounding"),
        use(2, 6, 48, 90, 33, "odd sizes"),
        use(1, 4, 64, 1, 1),
        use(0, 4, 64, 10, 10),
        use(2, 4, 64, 5, 0, "no index"),
    };
    for (const Case& c : {use(1, 8, 512, 200, 190, "short", DType::f32),
                          use(3, 8, 128, 300, 260, "holes", DType::f32),
                          use(9, 4, 64, 100, 144, "rounding", DType::f32),
                          use(9, 6, 48, 100, 65, "empty row", DType::f32)})
      list.push_back(c);
    const auto quantised = [](Case c) {
      c.dims["B"] = QuantisedRow{c.dims["D"]}.bytes();
      c.dtypes.erase("kv");
      c.dtypes["kv_quantised"] = DType::u8;
      return c;
    };
    for (const Case& c : {use(1, 8, 512, 100, 70), use(2, 8, 128, 300, 260, "holes"),
                          use(9, 4, 128, 100, 65, "empty row"), use(70, 4, 128, 100, 130, "short"),
                          use(1, 64, 512, 400, 390)})
      list.push_back(quantised(c));
    for (auto [T, N] : {std::pair<int64_t, int64_t>{1, 128},
                        {1, 640},
                        {1, 1152},
                        {1, 8320},
                        {4, 640},
                        {8, 640},
                        {64, 640},
                        {512, 640},
                        {4096, 640}}) {
      Case c = use(T, 64, 512, 16384, N);
      c.bench = true;
      c.test = false;
      list.push_back(c);
      if (N == 640) list.push_back(quantised(c));
    }
    return list;
  }

  /// bf16(p) is off by 2^-8 p at most; the scores' own errors are far smaller: with |score| up to
  /// 20 and D products each, p is off by 2^-17 p.
  static Tolerance tolerance(const Problem& p) {
    return {.scaled = p.dtype("out") == DType::bf16 ? 1.05 * 0x1p-8 : 0x1p-16};
  }

  static Cost cost(const Problem& p) {
    const double keys = static_cast<double>(p.dim("T")) * static_cast<double>(p.dim("N"));
    const auto H = static_cast<double>(p.dim("H")), D = static_cast<double>(p.dim("D"));
    const double rows = std::min(keys, static_cast<double>(p.dim("R")));
    const double row_bytes =
        p.has("kv") ? D * bits(p.dtype("kv")) / 8 : static_cast<double>(p.dim("B"));
    return {.bytes_read = rows * row_bytes + 4 * keys + static_cast<double>(p.tensor("q").bytes()),
            .bytes_written = static_cast<double>(p.tensor("out").bytes()),
            .flops = 4 * keys * H * D};
  }
};

}  // namespace tessera::ops
