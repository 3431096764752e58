// SPDX-License-Identifier: Apache-2.0
// What stands in front of a sublayer, from the residual stream to the activations of its products:
// mixing numbers, gates, weighted sum of the copies, norm and quantisation.
#pragma once

#include <array>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "tessera/ops/hyper_connection/hc_mix.h"
#include "tessera/ops/hyper_connection/hc_post_combine.h"
#include "tessera/ops/hyper_connection/hc_pre_combine.h"
#include "tessera/ops/hyper_connection/hc_split_sinkhorn.h"
#include "tessera/ops/norm/rms_norm_quant.h"

namespace tessera::ops {

struct HcPreNorm {
  static constexpr int64_t kCopies = HcMix::kCopies, kNumbers = 24, kBlock = RmsNormQuant::kBlock;

  static Signature signature() {
    return {
        .name = "hc_pre_norm",
        .family = "hyper_connection",
        .rows = "4,10,44,45,46,47",
        .summary = "A sublayer's input and gates from the residual stream.",
        .formula =
            "m = hc_mix(x, fn); (pre, post, comb) = hc_split_sinkhorn(m, scale, base); y = "
            "hc_pre_combine(x, pre) in the dtype of x; z = rms_norm(y, w); (q, s) = act_quant(z)\n"
            "x [T, 4, D], fn [24, 4 D] f32, scale [3], base [24] and w [D]; post [T, 4] and comb "
            "[T, 4, 4] f32; z [T, D], q [T, D] e4m3 with s [T, D/128] e8m0: either or both. eps is "
            "that of both norms, eps_gate that of the split.\n"
            "With f, last_post, last_comb and h: h = hc_post_combine(f, x, last_post, last_comb), "
            "the stream after the sublayer before, takes the place of x.",
        .source = "model.py:183, model.py:676-690, kernel.py:372",
        .tensors = {in("x", "T,4,D", {DType::bf16, DType::f32}),
                    weight("fn", "24,D*4", {DType::f32}), in("scale", "3", {DType::f32}),
                    in("base", "24", {DType::f32}), in("w", "D", {DType::bf16, DType::f32}),
                    out("post", "T,4", {DType::f32}), out("comb", "T,4,4", {DType::f32}),
                    optional(out("z", "T,D", {DType::bf16, DType::f32})),
                    optional(out("q", "T,D", {DType::f8e4m3})),
                    optional(out("s", "T,D/128", {DType::f8e8m0})),
                    optional(in("f", "T,D", {DType::bf16, DType::f32})),
                    optional(in("last_post", "T,4", {DType::f32})),
                    optional(in("last_comb", "T,4,4", {DType::f32})),
                    optional(out("h", "T,4,D", {DType::bf16, DType::f32}))},
        .attributes = {{"eps", 1e-6}, {"eps_gate", 1e-6}, {"iterations", 20}},
    };
  }

  /// The mixing numbers of one token, from the sums of each part of K.
  struct Numbers {
    const View &dots, &squares, &scale, &base;
    Tile row, inverse;
    int64_t parts;

    Numbers(const NamedViews& v, Tile row, int64_t count, Operand width, double eps)
        : dots(v["dots"]),
          squares(v["squares"]),
          scale(v["scale"]),
          base(v["base"]),
          row(row),
          parts(pow2_ceil(count)) {
      const Tile sum = reduce_sum(load(squares, {0, row}, {parts, 1}), 0);
      inverse = rsqrt(reshape(sum, {}) / width + eps);
    }
    /// m scale[group] + base from number `first` on, f32 [count].
    Tile biased(int64_t first, int64_t count, int64_t group) const {
      const Tile sum = reduce_sum(load(dots, {0, row, first}, {parts, 1, count}), 0);
      return reshape(sum, {count}) * (inverse * load_scalar(scale, {group})) +
             load(base, {first}, {count});
    }
  };

  static void plan(PlanBuilder& b) {
    // Many rows keep a chip busy kernel by kernel; gates that the programs of a row make cost more
    // there than they save. Where rows must not depend on their neighbours all take the steps,
    // whose sums are the same for any number of rows. The steps quantise bf16 alone.
    const auto is_narrow = [&](const char* name) {
      return !b.has(name) || b.dtype(name) == DType::bf16;
    };
    const bool in_steps = !b.has("q") || (is_narrow("x") && is_narrow("z"));
    b.m_class("T") > 8 && in_steps ? plan_steps(b) : plan_together(b);
  }

  static Arg read(const Arg& arg) { return arg.with_access(Access::kRead); }
  static Arg written(const Arg& arg) { return arg.with_access(Access::kWrite); }

  /// The stream to mix, by a kernel of its own where the sublayer before is still to be added.
  static Arg plan_stream(PlanBuilder& b) {
    if (!b.has("f")) return b.tensor("x");
    HcPostCombine::plan_rows(b, b.tensor("f"), b.tensor("x"), b.tensor("last_post"),
                             b.tensor("last_comb"), b.tensor("h"));
    return read(b.tensor("h"));
  }

  /// The operators it stands for, one after the other.
  static void plan_steps(PlanBuilder& b) {
    const int64_t rows = b.dim("T"), width = b.dim("D");
    const auto scratch = [&](const char* name, DType dtype, int64_t columns) {
      return b.workspace(name, dtype, {rows, columns}, {true, false});
    };
    const Arg m = scratch("m", DType::f32, kNumbers), pre = scratch("pre", DType::f32, kCopies),
              y = scratch("y", b.dtype("x"), width);
    const Arg x = plan_stream(b);
    HcMix::plan_numbers(b, kNumbers, x, written(m));
    HcSplitSinkhorn::plan_gates(b, read(m), written(pre), b.attribute("eps_gate"));
    HcPreCombine::plan_rows(b, x, read(pre), written(y));
    if (!b.has("q")) return RmsNorm::plan_rows(b, read(y), streamed_if_large(b, "z", "T", width));
    std::optional<Arg> kept;
    if (b.has("z")) kept = streamed_if_large(b, "z", "T", width);
    RmsNormQuant::plan_rows(b, width, read(y), b.tensor("w"), streamed_if_large(b, "q", "T", width),
                            b.tensor("s"), kept);
  }

  /// The sums over parts of K, and the stream they are of.
  static std::pair<HcMix::Parts, Arg> plan_parts(PlanBuilder& b) {
    if (b.has("f") && HcMix::updates_row(b)) {
      const HcMix::Update update{b.tensor("f"), b.tensor("last_post"), b.tensor("last_comb"),
                                 b.tensor("h")};
      return {HcMix::plan_parts(b, kNumbers, b.tensor("x"), update), read(b.tensor("h"))};
    }
    const Arg stream = plan_stream(b);
    return {HcMix::plan_parts(b, kNumbers, stream), stream};
  }

  /// Few rows: each program makes the gates it needs from the sums over parts of K.
  static void plan_together(PlanBuilder& b) {
    const int64_t width = b.dim("D"), blocks = ActQuant::tiling(b, width, kBlock).blocks;
    const int64_t cols = blocks * kBlock;
    const double eps = b.attribute("eps"), eps_gate = b.attribute("eps_gate");
    const auto iterations = static_cast<int64_t>(b.attribute("iterations"));
    const DType stream = b.dtype("x");
    auto [parts, x] = plan_parts(b);
    x.name = "x";
    const auto with_parts = [&parts = parts](std::vector<Arg> args) {
      args.push_back(parts.dots);
      args.push_back(parts.squares);
      return args;
    };
    std::vector<Arg> row_args = with_parts(b.tensors({"scale", "base", "w", "z", "q", "s"}));
    row_args.push_back(x);
    b.kernel_named("rows", {b.dim("T")}, row_args,
                   [=, count = parts.count](KernelBuilder& k, const NamedViews& v) {
                     const Tile row = k.program_id(0);
                     const Columns whole(v, row, cols, cols >= width);
                     const Numbers numbers(v, row, count, to_f32(v["x"].extent(2) * kCopies), eps);
                     const Tile gates = sigmoid(numbers.biased(0, kCopies, 0)) + eps_gate;
                     std::array<Tile, kCopies> gate;
                     for (int64_t j = 0; j < kCopies; ++j)
                       gate[static_cast<size_t>(j)] = reshape(slice(gates, 0, j, 1), {});
                     normalise(k, v, row, gate, whole, stream, eps);
                   });
    // A sublayer's output needs these, its input does not: they are made meanwhile.
    const std::vector<Arg> args = with_parts(b.tensors({"fn", "scale", "base", "post", "comb"}));
    b.kernel_named("gates", {b.dim("T")}, args,
                   [=, count = parts.count](KernelBuilder& k, const NamedViews& v) {
                     const Tile row = k.program_id(0);
                     const Numbers numbers(v, row, count, to_f32(v["fn"].extent(1)), eps);
                     store(v["post"], {row, 0},
                           reshape(sigmoid(numbers.biased(kCopies, kCopies, 1)) * 2, {1, kCopies}));
                     const Tile given = reshape(numbers.biased(2 * kCopies, 16, 2), {1, 4, 4});
                     store(v["comb"], {row, 0, 0},
                           HcSplitSinkhorn::doubly_stochastic(k, given, iterations, eps_gate));
                   });
  }

  /// Columns of a row. All of them, where they fit a tile, are on their way before the gates are
  /// known.
  struct Columns {
    int64_t cols;
    bool all;
    std::array<Tile, kCopies> copies;
    Tile weight;

    Columns(const NamedViews& v, Tile row, int64_t cols, bool all) : cols(cols), all(all) {
      if (!all) return;
      copies = HcPreCombine::copies(v["x"], row, 0, cols);
      weight = load(v["w"], {0}, {cols});
    }
  };

  /// The row's activations.
  static void normalise(KernelBuilder& k, const NamedViews& v, Tile row,
                        const std::array<Tile, kCopies>& gate, const Columns& whole, DType stream,
                        double eps) {
    const View &x = v["x"], &w = v["w"];
    const int64_t cols = whole.cols;
    const Tile extent = to_f32(x.extent(2));
    const auto rounded = [&](Tile sum) {
      return stream == DType::f32 ? sum : round_to(sum, stream);
    };
    const auto finish = [&](Operand c, Operand block, Tile normed) {
      if (v.has("z")) store(v["z"], {row, c}, cast(normed, v["z"].dtype()));
      if (v.has("q"))
        RmsNormQuant::store_codes(v["q"], v["s"], row, c, block, cast(normed, DType::bf16));
    };
    if (whole.all) {
      const Tile y = rounded(HcPreCombine::combine(whole.copies, gate));
      const Tile mean = reduce_sum(y * y, 0) / extent;
      finish(0, 0, y * rsqrt(mean + eps) * to_f32(whole.weight));
      return;
    }
    const auto combined = [&](Operand c) {
      return rounded(HcPreCombine::combine(x, row, c, cols, gate));
    };
    const auto [squares] = k.for_range(
        0, x.extent(2), cols, lang::carry(k.zeros(DType::f32, {cols})), [&](Tile c, Tile sum) {
          const Tile y = combined(c);
          return lang::carry(fma(y, y, sum));
        });
    const Tile scale = rsqrt(reduce_sum(squares, 0) / extent + eps);
    k.for_range(0, x.extent(2), cols, [&](Tile c) {
      finish(c, c / kBlock, combined(c) * scale * to_f32(load(w, {c}, {cols})));
    });
  }

  /// The stream after the sublayer before, which h is told of too.
  static HostTensor updated(const Reference& r) {
    HostTensor h = r.in("x");
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t k = 0; k < kCopies; ++k)
        for (int64_t d = 0; d < r.dim("D"); ++d) {
          double sum = r.in("last_post").at({t, k}) * r.in("f").at({t, d});
          double magnitude = std::abs(sum);
          for (int64_t j = 0; j < kCopies; ++j) {
            const double product = r.in("last_comb").at({t, j, k}) * r.in("x").at({t, j, d});
            sum += product;
            magnitude += std::abs(product);
          }
          r.out("h").set({t, k, d}, sum, magnitude);
          h.set({t, k, d}, sum);
        }
    return h;
  }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D");
    const double eps = r.attribute("eps");
    const bool narrow = r.problem().dtype("x") == DType::bf16;
    const HostTensor stream = r.has("f") ? updated(r) : r.in("x");
    const auto bf16 = [](double value) { return double{decode_bf16(encode_bf16(value))}; };
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const auto m = HcMix::numbers(stream, r.in("fn"), t, eps).values;
      const auto gates =
          HcSplitSinkhorn::gates(m, r.in("scale"), r.in("base"), r.attribute("eps_gate"),
                                 static_cast<int>(r.attribute("iterations")));
      for (int64_t j = 0; j < kCopies; ++j) {
        r.out("post").set({t, j}, gates.post[j]);
        for (int64_t i = 0; i < kCopies; ++i) r.out("comb").set({t, j, i}, gates.comb[j][i]);
      }
      std::vector<double> z(static_cast<size_t>(width)), magnitudes = z;
      double squares = 0;
      for (int64_t d = 0; d < width; ++d) {
        double& y = z[static_cast<size_t>(d)];
        for (int64_t j = 0; j < kCopies; ++j) {
          const double part = gates.pre[j] * stream.at({t, j, d});
          y += part;
          magnitudes[static_cast<size_t>(d)] += std::abs(part);
        }
        if (narrow) y = bf16(y);
        squares += y * y;
      }
      const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + eps);
      for (int64_t d = 0; d < width; ++d) {
        double& value = z[static_cast<size_t>(d)];
        const double factor = scale * r.in("w").at({d});
        value *= factor;
        const double magnitude = magnitudes[static_cast<size_t>(d)] * std::abs(factor);
        if (r.has("z")) r.out("z").set({t, d}, value, magnitude);
      }
      if (!r.has("q")) continue;
      for (double& value : z) value = bf16(value);
      RmsNormQuant::set_codes(r, t, z);
    }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types codes = {
        {"x", DType::bf16}, {"w", DType::bf16}, {"q", DType::f8e4m3}, {"s", DType::f8e8m0}};
    Types both = codes;
    both["z"] = DType::bf16;
    const Types plain = {{"x", DType::bf16}, {"w", DType::bf16}, {"z", DType::bf16}};
    const Types f32 = {{"x", DType::f32}, {"w", DType::f32}, {"z", DType::f32}};
    const auto after = [](Types types) {  // a sublayer whose output is still to be added
      types["f"] = types["h"] = types["x"];
      types["last_post"] = types["last_comb"] = DType::f32;
      return types;
    };
    return {
        {{{"T", 1}, {"D", 4096}}, after(both), {}, false, true, "Flash"},
        {{{"T", 1}, {"D", 7168}}, after(codes), {}, false, true, "Pro"},
        {{{"T", 1}, {"D", 1024}}, after(f32)},
        {{{"T", 1}, {"D", 300}}, after(plain)},
        {{{"T", 6}, {"D", 512}}, after(both)},
        {{{"T", 66}, {"D", 256}}, after(both)},
        {{{"T", 1}, {"D", 4096}}, both, {}, false, true, "Flash"},
        {{{"T", 3}, {"D", 7168}}, codes, {}, false, true, "Pro"},
        {{{"T", 17}, {"D", 512}}, f32},
        {{{"T", 5}, {"D", 256}}, plain},
        {{{"T", 70}, {"D", 300}}, both, {}, false, true, "a last block of 44"},
        {{{"T", 9}, {"D", 128}}, f32, {{"eps", 0.5}, {"eps_gate", 0.01}, {"iterations", 2}}},
        {{{"T", 0}, {"D", 4096}}, both},
        bench_case({{"T", 1}, {"D", 4096}}, both),
        bench_case({{"T", 1}, {"D", 4096}}, after(both)),
        bench_case({{"T", 64}, {"D", 4096}}, both),
        bench_case({{"T", 4096}, {"D", 4096}}, both, {}, "176 MB"),
    };
  }

  static void fill(Inputs& in) {
    HostTensor &w = in.tensor("w"), &fn = in.tensor("fn");
    for (int64_t d = 0; d < w.numel(); ++d) w.set({d}, in.uniform(0.5, 1.5));
    if (!in.test_case().test) return;
    // Mixing numbers of order 1.
    const double order = 1 / std::sqrt(static_cast<double>(fn.extent(1)));
    for (int64_t i = 0; i < fn.numel(); ++i) fn.set_flat(i, in.normal(order));
    for (int64_t i = 0; i < 3; ++i) in.tensor("scale").set({i}, in.uniform(0.5, 1.5));
    for (int64_t i = 0; i < kNumbers; ++i) in.tensor("base").set({i}, in.normal(0.5));
  }

  /// Mixing numbers of order 1 with errors as hc_mix, then as hc_split_sinkhorn. Gates off by 1e-6
  /// round one in a thousand combined elements the other way in bf16, and those that follow.
  static Tolerance tolerance(const Problem&) {
    return {.relative = 1e-4, .scaled = 4e-6, .one_step_share = 3e-3};
  }

  static Cost cost(const Problem& p) {
    const double rows = static_cast<double>(p.dim("T")), elements = rows * p.dim("D");
    const double written = (p.has("z") ? bits(p.dtype("z")) / 8.0 : 0) + (p.has("q") ? 1 : 0);
    const double stream = kCopies * elements * bits(p.dtype("x")) / 8, update = p.has("f") ? 1 : 0;
    return {
        .bytes_read = (1 + update / kCopies) * stream + static_cast<double>(p.tensor("fn").bytes()),
        .bytes_written = written * elements + update * stream + rows * 80,
        .flops = (2 * kNumbers + 4) * kCopies * elements};
  }
};

}  // namespace tessera::ops
