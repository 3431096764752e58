// SPDX-License-Identifier: Apache-2.0
// Mixing numbers of hyper-connections to weights: gates by sigmoid, a doubly stochastic 4 x 4
// matrix by Sinkhorn iterations.
#pragma once

#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct HcSplitSinkhorn {
  static constexpr int64_t kCopies = 4, kNumbers = 24;
  using Matrix = std::array<Tile, 16>;  // element [4 j + k] of every token

  static Signature signature() {
    return {
        .name = "hc_split_sinkhorn",
        .family = "hyper_connection",
        .rows = "45",
        .summary =
            "Splits the 24 mixing numbers of a token into pre and post gates and a Sinkhorn "
            "matrix.",
        .formula =
            "pre[j] = sigmoid(m[j] scale[0] + base[j]) + eps; post[j] = 2 sigmoid(m[4+j] scale[1] "
            "+ "
            "base[4+j])\n"
            "C[j, k] = m[8+4j+k] scale[2] + base[8+4j+k]; C <- softmax over k of C + eps; C <- C / "
            "(sum "
            "over j of C + eps); then iterations - 1 times: C <- C / (sum over k + eps), C <- C / "
            "(sum over "
            "j + eps)\n"
            "m [T, 24], scale [3], base [24] -> pre [T, 4], post [T, 4], comb [T, 4, 4], all f32",
        .source = "kernel.py:372",
        .tensors = {in("m", "T,24", {DType::f32}), in("scale", "3", {DType::f32}),
                    in("base", "24", {DType::f32}), out("pre", "T,4", {DType::f32}),
                    out("post", "T,4", {DType::f32}), out("comb", "T,4,4", {DType::f32})},
        .attributes = {{"eps", 1e-6}, {"iterations", 20}},
    };
  }

  /// Divides each element by the sum of its line plus eps; lines are rows (fixed j) or columns
  /// (fixed k).
  static Matrix divide_by_lines(Matrix c, bool rows, double eps) {
    const size_t line = rows ? 4 : 1, step = rows ? 1 : 4;
    for (size_t i = 0; i < 4; ++i) {
      const size_t first = i * line;
      const Tile sum = (c[first] + c[first + step]) + (c[first + 2 * step] + c[first + 3 * step]);
      const Tile inverse = 1.0f / (sum + eps);
      for (size_t e = 0; e < 4; ++e) c[first + e * step] = c[first + e * step] * inverse;
    }
    return c;
  }
  /// Softmax over k, plus eps; then the first division by columns.
  static Matrix start(Matrix c, double eps) {
    for (size_t first = 0; first < 16; first += 4) {
      const Tile top = max(max(c[first], c[first + 1]), max(c[first + 2], c[first + 3]));
      for (size_t k = 0; k < 4; ++k) c[first + k] = exp(c[first + k] - top);
      const Tile inverse = 1.0f / ((c[first] + c[first + 1]) + (c[first + 2] + c[first + 3]));
      for (size_t k = 0; k < 4; ++k) c[first + k] = c[first + k] * inverse + eps;
    }
    return divide_by_lines(c, /*rows=*/false, eps);
  }

  /// 1 / x of normal numbers above 2^-125 to 2^-22, by Newton's steps from the exponent: each
  /// division waits for the one before, and one by instructions takes twice as long.
  static Tile reciprocal(Tile x) {
    Tile y = bitcast(0x7ef311c3 - bitcast(x, DType::i32), DType::f32);
    for (int step = 0; step < 3; ++step) y = fma(fma(-x, y, 1.0f), y, y);
    return y;
  }

  /// The matrices made of `given` f32 [tokens, 4, 4].
  static Tile doubly_stochastic(KernelBuilder& k, Tile given, int64_t iterations, double eps) {
    const int64_t tokens = given.shape()[0];
    const auto divided = [&](Tile c, int axis) {
      const Tile sum = reduce_sum(c, axis);
      const TileShape line = axis == 2 ? TileShape{tokens, 4, 1} : TileShape{tokens, 1, 4};
      return c * reshape(reciprocal(sum + eps), line);
    };
    const Tile grown = exp(given - reshape(reduce_max(given, 2), {tokens, 4, 1}));
    const Tile softmax = grown * reshape(reciprocal(reduce_sum(grown, 2)), {tokens, 4, 1}) + eps;
    const auto [c] =
        k.for_range(1, iterations, 1, lang::carry(divided(softmax, 1)),
                    [&](Tile, Tile c) { return lang::carry(divided(divided(c, 2), 1)); });
    return c;
  }

  /// Chips with many small programs share a matrix among lanes, an element each: all sums of a step
  /// at once, and one division.
  static void plan_shared(PlanBuilder& b, const Arg& m, const Arg& pre, double eps) {
    constexpr int64_t tokens = 2;
    const auto iterations = static_cast<int64_t>(b.attribute("iterations"));
    b.kernel("matrices", {programs_for(b.dim("T"), tokens)},
             {m, b.tensor("scale"), b.tensor("base"), pre, b.tensor("post"), b.tensor("comb")},
             [=](KernelBuilder& k, View m, View scale, View base, View pre, View post, View comb) {
               const Tile row = k.program_id(0) * tokens;
               const auto numbers = [&](int64_t first, int64_t count, int64_t group) {
                 return load(m, {row, first}, {tokens, count}) * load_scalar(scale, {group}) +
                        reshape(load(base, {first}, {count}), {1, count});
               };
               store(pre, {row, 0}, sigmoid(numbers(0, kCopies, 0)) + eps);
               store(post, {row, 0}, sigmoid(numbers(kCopies, kCopies, 1)) * 2);
               const Tile given = reshape(numbers(2 * kCopies, 16, 2), {tokens, 4, 4});
               store(comb, {row, 0, 0}, doubly_stochastic(k, given, iterations, eps));
             });
  }

  static void plan(PlanBuilder& b) {
    plan_gates(b, b.tensor("m"), b.tensor("pre"), b.attribute("eps"));
  }

  /// The kernel from mixing numbers m [T, 24] to pre [T, 4], post and comb.
  static void plan_gates(PlanBuilder& b, const Arg& m, const Arg& pre, double eps) {
    if (b.caps().gemv_rows < 16) return plan_shared(b, m, pre, eps);
    // A tile holds one number of many tokens, so that nothing crosses lanes.
    const int64_t tokens = std::clamp<int64_t>(b.caps().vector_tile / 4, 1, b.m_class("T"));
    const auto iterations = static_cast<int64_t>(b.attribute("iterations"));
    b.kernel("tokens", {programs_for(b.dim("T"), tokens)},
             {m, b.tensor("scale"), b.tensor("base"), pre, b.tensor("post"), b.tensor("comb")},
             [=](KernelBuilder& k, View m, View scale, View base, View pre, View post, View comb) {
               const Tile row = k.program_id(0) * tokens;
               const auto number = [&](int64_t n, int64_t group) {
                 const Tile v = reshape(load(m, {row, n}, {tokens, 1}), {tokens});
                 return v * load_scalar(scale, {group}) + load_scalar(base, {n});
               };
               for (int64_t j = 0; j < kCopies; ++j) {
                 store(pre, {row, j}, reshape(sigmoid(number(j, 0)) + eps, {tokens, 1}));
                 store(post, {row, j}, reshape(sigmoid(number(4 + j, 1)) * 2, {tokens, 1}));
               }
               Matrix c;
               for (size_t i = 0; i < 16; ++i) c[i] = number(8 + static_cast<int64_t>(i), 2);
               c = k.for_range(1, iterations, 1, start(c, eps), [&](Tile, auto... elements) {
                 return divide_by_lines(divide_by_lines({elements...}, true, eps), false, eps);
               });
               for (int64_t i = 0; i < 16; ++i)
                 store(comb, {row, i / 4, i % 4},
                       reshape(c[static_cast<size_t>(i)], {tokens, 1, 1}));
             });
  }

  /// The same for one token in double; m: its numbers.
  struct Gates {
    double pre[4], post[4], comb[4][4];
  };
  static Gates gates(std::span<const double> m, const HostTensor& scale, const HostTensor& base,
                     double eps, int iterations) {
    const auto number = [&](int64_t n, int64_t group) {
      return m[static_cast<size_t>(n)] * scale.at({group}) + base.at({n});
    };
    const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
    Gates g;
    for (int64_t j = 0; j < 4; ++j) {
      g.pre[j] = sigmoid(number(j, 0)) + eps;
      g.post[j] = 2 * sigmoid(number(4 + j, 1));
      double sum = 0;
      for (int64_t k = 0; k < 4; ++k) sum += std::exp(number(8 + 4 * j + k, 2));
      for (int64_t k = 0; k < 4; ++k) g.comb[j][k] = std::exp(number(8 + 4 * j + k, 2)) / sum + eps;
    }
    for (int pass = 1; pass < 2 * iterations; ++pass)
      for (int64_t line = 0; line < 4; ++line) {
        const bool columns = pass % 2 == 1;
        double sum = 0;
        for (int64_t i = 0; i < 4; ++i) sum += columns ? g.comb[i][line] : g.comb[line][i];
        for (int64_t i = 0; i < 4; ++i) (columns ? g.comb[i][line] : g.comb[line][i]) /= sum + eps;
      }
    return g;
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      std::vector<double> m;
      for (int64_t n = 0; n < kNumbers; ++n) m.push_back(r.in("m").at({t, n}));
      const Gates g = gates(m, r.in("scale"), r.in("base"), r.attribute("eps"),
                            static_cast<int>(r.attribute("iterations")));
      for (int64_t j = 0; j < 4; ++j) {
        r.out("pre").set({t, j}, g.pre[j]);
        r.out("post").set({t, j}, g.post[j]);
        for (int64_t k = 0; k < 4; ++k) r.out("comb").set({t, j, k}, g.comb[j][k]);
      }
    }
  }

  static std::vector<Case> cases() {
    return {
        {{{"T", 1}}},
        {{{"T", 3}}, {}, {}, false, true, "numbers of order 10"},
        {{{"T", 17}}},
        {{{"T", 75}}, {}, {}, false, true, "numbers of order 10"},
        {{{"T", 5}}, {}, {{"iterations", 1}, {"eps", 0.01}}},
        {{{"T", 33}}, {}, {{"iterations", 2}, {"eps", 0.01}}, false, true, "numbers of order 10"},
        {{{"T", 0}}},
        bench_case({{"T", 1}}),
        bench_case({{"T", 64}}),
        bench_case({{"T", 4096}}),
    };
  }

  static void fill(Inputs& in) {
    const double order = in.test_case().note == "numbers of order 10" ? 10 : 1;
    HostTensor &m = in.tensor("m"), &scale = in.tensor("scale"), &base = in.tensor("base");
    for (int64_t i = 0; i < m.numel(); ++i) m.set_flat(i, in.normal(order));
    for (int64_t i = 0; i < 3; ++i) scale.set({i}, in.uniform(0.5, 1.5));
    for (int64_t i = 0; i < kNumbers; ++i) base.set({i}, in.normal(0.5));
  }

  /// Arguments up to 50 in f32 give exp a relative error of 50 * 2^-24 = 3e-6; forty divisions add
  /// 2^-23 each at most.
  static Tolerance tolerance(const Problem&) { return {.relative = 3e-5}; }

  static Cost cost(const Problem& p) {
    const double rows = static_cast<double>(p.dim("T"));
    return {.bytes_read = rows * 96,
            .bytes_written = rows * 96,
            .flops = rows * (100 + 56 * p.attribute("iterations"))};
  }
};

}  // namespace tessera::ops
