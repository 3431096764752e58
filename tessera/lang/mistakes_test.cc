// SPDX-License-Identifier: Apache-2.0
// What an author is told: the text of every mistake, its line, and that all are told at once.
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "tessera/lang/kernel_builder.h"

namespace tessera::lang {
namespace {

/// Some arguments and tiles to make mistakes with.
struct Things {
  explicit Things(KernelBuilder& builder) : k(builder) {}

  KernelBuilder& k;
  View in = k.view("in", DType::f32, 2, Access::kRead);
  View out = k.view("out", DType::f32, 2, Access::kWrite);
  View both = k.view("both", DType::i32, 1, Access::kReadWrite);
  View fp4 = k.view("fp4", DType::f4e2m1, 2, Access::kReadWrite);
  Tile f = k.zeros(DType::f32, {64});
  Tile f2 = k.zeros(DType::f32, {4, 64});
  Tile i = k.zeros(DType::i32, {64});
  Tile u = k.zeros(DType::u32, {64});
  Tile b = k.zeros(DType::bf16, {64});
  Tile u8 = k.zeros(DType::u8, {64});
  Tile flag = k.zeros(DType::i1, {64});
  Tile n = k.index(3);
};

/// The mistakes of a kernel, without file and line, joined by '|'. "" if there are none.
std::string mistakes(const std::function<void(KernelBuilder&, Things)>& body) {
  auto trace = trace_kernel("k", [&](KernelBuilder& k) { body(k, Things(k)); });
  if (trace.ok()) return "";
  EXPECT_EQ(trace.error().code, ErrorCode::invalid_argument);
  std::string text = trace.error().message;
  text = std::regex_replace(
      text, std::regex("^kernel 'k': [0-9]+ mistakes?\n  tessera/lang/mistakes_test.cc:[0-9]+: "),
      "");
  return std::regex_replace(text, std::regex("\n  tessera/lang/mistakes_test.cc:[0-9]+: "), "|");
}

#define MISTAKE(text, ...)                                                                         \
  EXPECT_EQ(                                                                                       \
      mistakes([]([[maybe_unused]] KernelBuilder& k, [[maybe_unused]] Things t) { __VA_ARGS__; }), \
      text)

TEST(Mistakes, AllAreToldWithTheirLines) {
  const uint32_t line = std::source_location::current().line();
  auto trace = trace_kernel("demo.rows", [](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 2, Access::kRead);
    Tile tile = load(x, {0, 0}, {4, 3});
    Tile sum = tile + load(x, {0}, {64});  // poison on one side, a new mistake on the other
    store(x, {0, 0},                       //
          k.iota({64}, 0) + 0.5);
    store(x, {0, 0}, sum);
  });
  ASSERT_FALSE(trace.ok());
  const auto at = [&](uint32_t offset) {
    return "\n  tessera/lang/mistakes_test.cc:" + std::to_string(line + offset);
  };
  EXPECT_EQ(trace.error().message, "kernel 'demo.rows': 3 mistakes" + at(3) +
                                       ": load: shape [4, 3]: extent 3 is not a power of two" +
                                       at(4) + ": load: 1 offsets for view 'x' of rank 2" + at(6) +
                                       ": add: 0.5 is not a value of i32");
}

TEST(Mistakes, ARepeatedOneIsToldOnce) {
  MISTAKE("add: f32[64] and i32[64]; cast one of them",
          for (int n = 0; n < 3; ++n) void(t.f + t.i));
}

TEST(Mistakes, AreCounted) {
  auto trace = trace_kernel("k", [](KernelBuilder& k) {
    for (int n = 0; n < 30; ++n) k.view("x", DType::f32, n + 5, Access::kRead);
  });
  const std::string& text = trace.error().message;
  EXPECT_EQ(text.substr(0, 23), "kernel 'k': 31 mistakes");
  EXPECT_EQ(text.substr(text.size() - 13), "\n  and 6 more");
}

TEST(Mistakes, Declarations) {
  MISTAKE("view '': the name is empty", k.view("", DType::f32, 1, Access::kRead));
  MISTAKE("view 'in': an argument is already named 'in'",
          k.view("in", DType::f32, 1, Access::kRead));
  MISTAKE("scalar 'in': an argument is already named 'in'", k.scalar("in", DType::f32));
  MISTAKE("view 'x': rank 5; views have 1 to 4 dimensions",
          k.view("x", DType::f32, 5, Access::kRead));
  MISTAKE("view 'x': rank 0; views have 1 to 4 dimensions",
          k.view("x", DType::f32, 0, Access::kRead));
  MISTAKE("view 'x': i1 has no form in memory; use u8", k.view("x", DType::i1, 1, Access::kRead));
  MISTAKE("view 'x': f64 has no place in a kernel", k.view("x", DType::f64, 1, Access::kRead));
  MISTAKE("view 'x' extents: 1 divisors where 2 or none are expected",
          k.view("x", DType::f32, 2, Access::kRead, {.extent_divisors = {1}}));
  MISTAKE("view 'x' strides: divisor 3 is not one of 0 (the number is 1), 1, 2, 4, 8, 16, 128",
          k.view("x", DType::f32, 2, Access::kRead, {.stride_divisors = {3}}));
  MISTAKE("scalar 's': bf16 is not one of f32, i32, u32, i64", k.scalar("s", DType::bf16));
  MISTAKE("program_id: axis 3; a grid has axes 0, 1 and 2", k.program_id(3));
  MISTAKE("extent: dimension 2 of view 'in', which has 2", t.in.extent(2));
  MISTAKE("bounded: dimension 2 of view 'in', which has 2", t.in.bounded(2, 4));
  MISTAKE("bounded: the extent is f32[64]; it must be an i32 or i64 scalar", t.in.bounded(1, t.f));
}

TEST(Mistakes, Shapes) {
  MISTAKE("constant: shape [2, 2, 2, ..] has 4 dimensions; a tile has at most 3",
          k.zeros(DType::f32, {2, 2, 2, 2}));
  MISTAKE("constant: shape [0]: extent 0 is not a power of two", k.zeros(DType::f32, {0}));
  MISTAKE("constant: shape [-4]: extent -4 is not a power of two", k.zeros(DType::f32, {-4}));
  MISTAKE("constant: shape [4096, 4096] has more than 1048576 elements",
          k.zeros(DType::f32, {4096, 4096}));
  MISTAKE("iota: axis 1 of shape [64]", k.iota({64}, 1));
  MISTAKE("add: f32[64] and f32[32] do not broadcast", t.f + k.zeros(DType::f32, {32}));
  MISTAKE("broadcast: f32[64] does not broadcast to [4, 32]", broadcast(t.f * 2, {4, 32}));
  MISTAKE("reshape: f32[64] has 64 elements, [4, 8] has 32", reshape(t.f, {4, 8}));
  MISTAKE("transpose: [0, 0] is not a permutation of the dimensions of f32[4, 64]",
          transpose(t.f2, {0, 0}));
  MISTAKE("transpose: [0] is not a permutation of the dimensions of f32[4, 64]",
          transpose(t.f2, {0}));
  MISTAKE("slice: axis 1 of f32[64], which has 1 dimension", slice(t.f, 1, 0, 4));
  MISTAKE("slice: 32 elements from 40 of axis 0 of f32[64]", slice(t.f, 0, 40, 32));
  MISTAKE("slice: shape [3]: extent 3 is not a power of two", slice(t.f, 0, 0, 3));
  MISTAKE("concat: shape [96]: extent 96 is not a power of two",
          concat(t.f, slice(t.f, 0, 0, 32), 0));
  MISTAKE("concat: f32[64] and i32[64] cannot be joined along axis 0", concat(t.f, t.i, 0));
  MISTAKE("split: f32; the last extent must be at least 2", split(k.constant(DType::f32, {}, 1)));
  MISTAKE("split: f32[1]; the last extent must be at least 2", split(k.zeros(DType::f32, {1})));
  MISTAKE("join: f32[64] and i32[64]; cast one of them", join(t.f, t.i));
  MISTAKE("join: i64 is a scalar; reshape it to [1]", join(t.n, t.n));
}

TEST(Mistakes, Arithmetic) {
  MISTAKE("add: f32[64] and i32[64]; cast one of them", t.f + t.i);
  MISTAKE("mul: i64 and i32[64]; cast one of them", t.n * t.i);
  MISTAKE("add: bf16[64] is a storage type; cast to f32 first", t.b + t.b);
  MISTAKE("add: bf16[64] is a storage type; cast to f32 first", t.b + 1);
  MISTAKE("mul: u8[64] is a storage type; cast to i32 first", t.u8 * 2);
  MISTAKE("add: i1[64] is not one of f32, i32, u32, i64; cast it first", t.flag + t.flag);
  MISTAKE("compare: i1[64] has no order; only == and !=", (void)(t.flag < t.flag));
  MISTAKE("", (void)(t.flag == t.flag); (void)(t.flag != !t.flag);
          t.flag ^ ((t.flag & t.flag) | t.flag));
  MISTAKE("and: f32[64] is not one of i1, i32, u32, i64; cast it first", t.f & t.f);
  MISTAKE("rem: f32[64] is not one of i32, u32, i64; cast it first", t.f % 2);
  MISTAKE("exp: i32[64] is not one of f32; cast it first", exp(t.i));
  MISTAKE("exp: bf16[64] is a storage type; cast to f32 first", exp(t.b));
  MISTAKE("abs: u32[64] is not one of f32, i32, i64; cast it first", abs(t.u));
  MISTAKE("add: 0.5 is not a value of i32", t.i + 0.5);
  MISTAKE("add: -1 is not a value of u32", t.u + -1);
  MISTAKE("add: 4294967296 is not a value of i32", t.i + (int64_t{1} << 32));
  MISTAKE("add: 1e+40 is not a value of f32", t.f + 1e40);
  MISTAKE("", t.f + 1; t.f * 0.1; t.i + 3.0; t.u & 0xffffffffu; t.f + INFINITY; t.f * NAN);
  MISTAKE("select: the condition is i32[64]; it must be i1, as comparisons give",
          select(t.i, t.f, t.f));
  MISTAKE("select: all values are numbers; make one a constant() of the dtype you want",
          select(t.flag, 1, 0));
  MISTAKE("fma: i32[64] is not one of f32; cast it first", fma(t.i, 2, 1));
  MISTAKE("cast: f32[64] to i1; compare with 0 instead", cast(t.f, DType::i1));
  MISTAKE("cast: f64 has no place in a kernel", cast(t.f, DType::f64));
  MISTAKE("bitcast: bf16[64] has 16 bits, f32 has 32", bitcast(t.b, DType::f32));
  MISTAKE("bitcast: i1 has no bits of its own", bitcast(t.flag, DType::u8));
  MISTAKE("round_to: i32[64] to bf16; an f32 tile is rounded to a float type",
          round_to(t.i, DType::bf16));
  MISTAKE("round_to: f32[64] to i32; an f32 tile is rounded to a float type",
          round_to(t.f, DType::i32));
  MISTAKE("constant: the value is a tile; pass a C++ number, or use broadcast()",
          k.constant(DType::f32, {4}, t.f));
  MISTAKE("constant: 300 is not a value of u8", k.constant(DType::u8, {4}, 300));
}

TEST(Mistakes, Memory) {
  MISTAKE("load: 1 offsets for view 'in' of rank 2", load(t.in, {0}, {64}));
  MISTAKE("load: offset 1 is f32[64]; it must be an i32 or i64 scalar", load(t.in, {0, t.f}, {64}));
  MISTAKE("load: offset 0 is 0.5; it must be a whole number", load(t.in, {0.5, 0}, {64}));
  MISTAKE("load: i32[4, 64] has more dimensions than view 'both', which has 1",
          load(t.both, {0}, {4, 64}));
  MISTAKE("load: view 'out' is write-only", load(t.out, {0, 0}, {64}));
  MISTAKE("load: fill 0.5 is not a value of i32", load(t.both, {0}, {64}, 0.5));
  MISTAKE("load: f4e2m1: f4e2m1 has two elements a byte, the last extent must be at least 2",
          load_scalar(t.fp4, {0, 0}));
  MISTAKE("store: view 'in' is read-only", store(t.in, {0, 0}, t.f));
  MISTAKE("store: i32[64] for view 'out' of f32; cast it first", store(t.out, {0, 0}, t.i));
  MISTAKE("store: 0.5 is not a value of i32", store(t.both, {0}, 0.5));
  MISTAKE("store: mask i1[64] for f32[4, 64]; it must be i1 of the same shape",
          store_masked(t.out, {0, 0}, t.f2, t.flag));
  MISTAKE("store: mask i32[64] for f32[64]; it must be i1 of the same shape",
          store_masked(t.out, {0, 0}, t.f, t.i));
  MISTAKE("gather: row indices are f32[64]; they must be i32, u32 or i64",
          gather(t.in, {0, 0}, t.f, 8));
  MISTAKE("gather: row indices are i32[1, 64]; they must have one dimension",
          gather(t.in, {0, 0}, reshape(t.i, {1, 64}), 8));
  MISTAKE("gather: i32[64, 8] has more dimensions than view 'both', which has 1",
          gather(t.both, {0}, t.i, 8));
  MISTAKE("scatter: f32[4, 64] with row indices i32[64]", scatter(t.out, {0, 0}, t.i, t.f2));
  MISTAKE("scatter: view 'in' is read-only", scatter(t.in, {0, 0}, t.i, t.f));
  MISTAKE("atomic_add: f32[64]; only i32 and i64 are added atomically",
          atomic_add(k.view("g", DType::f32, 1, Access::kReadWrite), {0}, t.i, t.f));
  MISTAKE("atomic_add: view 'c' is not declared read-write",
          atomic_add(k.view("c", DType::i32, 1, Access::kWrite), {0}, t.i, t.i));
}

TEST(Mistakes, AcrossElements) {
  MISTAKE("reduce: axis 1 of f32[64], which has 1 dimension", reduce_sum(t.f, 1));
  MISTAKE("reduce: axis -1 of f32[4, 64], which has 2 dimensions", argmax(t.f2, -1));
  MISTAKE("reduce: bf16[64] is a storage type; cast to f32 first", reduce_max(t.b, 0));
  MISTAKE("scan: axis 2 of f32[4, 64], which has 2 dimensions", scan_sum(t.f2, 2));
  MISTAKE("take: the index is f32[64]; it must be i32", take(t.f, t.f));
  MISTAKE("take: f32[4, 64] with index i32[64]; all extents but the last must agree",
          take(t.f2, t.i));
  MISTAKE("take: the index is the number 0; pass a tile (constant() makes one)", take(t.f, 0));
  MISTAKE("histogram: f32[64]; it must be i32 with one dimension", histogram(t.f, 16));
  MISTAKE("histogram: shape [24]: extent 24 is not a power of two", histogram(t.i, 24));
  MISTAKE("histogram: mask f32[64] for i32[64]; it must be i1 of the same shape",
          histogram_masked(t.i, t.f, 16));
  MISTAKE("sort: keys f32[4, 64] with values i32[64]; values must be i32 of the same shape",
          sort(t.f2, t.i, true));
  MISTAKE("sort: bf16[64] is a storage type; cast to f32 first", sort(t.b, t.i, false));
  MISTAKE("lookup: the code is f32[64]; it must be u8 or i32",
          (lookup(std::array<float, 16>{}, t.f)));
  MISTAKE("random_bits: the counter is i32[64]; it must be u32", random_bits(t.i, 1));
  MISTAKE("random_bits: the seed is f32[64]; it must be an i32 or i64 scalar",
          random_bits(t.u, t.f));
}

TEST(Mistakes, Dot) {
  MISTAKE("dot: f32 x bf16 into f32; a dot takes f32 or bf16 into f32, or i8 into i32",
          dot(t.f2, k.zeros(DType::bf16, {8, 64}), 0));
  MISTAKE("dot: bf16 x bf16 into i32; a dot takes f32 or bf16 into f32, or i8 into i32",
          dot(cast(t.f2, DType::bf16), cast(t.f2, DType::bf16), k.zeros(DType::i32, {4, 4})));
  MISTAKE("dot: a f32[4, 64], b f32[8, 32], acc f32[4, 8]; they must be [M, K], [N, K], [M, N]",
          dot(t.f2, k.zeros(DType::f32, {8, 32}), 0));
  MISTAKE("dot: a f32[4, 64], b f32[8, 64], acc f32[4, 64]; they must be [M, K], [K, N], [M, N]",
          dot_kn(t.f2, k.zeros(DType::f32, {8, 64}), 0));
  MISTAKE("dot: a f32[64], b f32[64], acc f32; they must be [M, K], [N, K], [M, N]",
          dot(t.f, t.f, 0));
  MISTAKE(
      "dot_scaled: f8e5m2 x f4e2m1 into f32; a is f32, bf16 or f8e4m3, b bf16, f8e4m3 or f4e2m1, "
      "acc f32",
      dot_scaled({k.zeros(DType::f8e5m2, {4, 64}), {}}, {k.zeros(DType::f4e2m1, {8, 64}), {}}, 0));
  MISTAKE(
      "dot_scaled: b scale f8e8m0[8, 128] for 8 rows and K = 64; it must be [1 or N / group, K / "
      "group], the group "
      "a power of two",
      dot_scaled({k.zeros(DType::bf16, {4, 64}), {}},
                 {k.zeros(DType::f4e2m1, {8, 64}), k.zeros(DType::f8e8m0, {8, 128})}, 0));
  MISTAKE(
      "dot_scaled: a scale f8e8m0[2, 1] for 4 rows and K = 64; it must be [1 or M, K / group], the "
      "group a power of "
      "two",
      dot_scaled({k.zeros(DType::bf16, {4, 64}), k.zeros(DType::f8e8m0, {2, 1})},
                 {k.zeros(DType::f4e2m1, {8, 64}), {}}, 0));
  MISTAKE("dot_scaled: a scale bf16[4, 1]; it must be f8e8m0 or f32",
          dot_scaled({k.zeros(DType::bf16, {4, 64}), k.zeros(DType::bf16, {4, 1})},
                     {k.zeros(DType::f4e2m1, {8, 64}), {}}, 0));
}

TEST(Mistakes, Control) {
  MISTAKE("for_range: step 0 is not positive", k.for_range(0, 4, 0, [](Tile) {}));
  MISTAKE("for_range: the upper bound is f32[64]; it must be an i32 or i64 scalar",
          k.for_range(0, t.f, 1, [](Tile) {}));
  MISTAKE("for_range: at the end of the body: value 1 is f32[4, 64] where f32[64] is expected",
          k.for_range(0, 4, 1, carry(t.n, t.f),
                      [&](Tile, Tile a, Tile f) { return carry(a, f + t.f2); }));
  MISTAKE("if_: second branch: value 0 is i32[64] where f32[64] is expected",
          k.if_(t.n > 1, [&] { return carry(t.f); }, [&] { return carry(t.i); }));
  MISTAKE("if: the condition is i1[64]; it must be an i1 scalar, as comparisons give",
          k.if_(t.flag, [] {}));
  MISTAKE("if: the condition is i64; it must be an i1 scalar, as comparisons give",
          k.if_(t.n, [] {}));
  MISTAKE(
      "add: f32[64] was made inside a for_range or if_ body that has ended; carry it out of there",
      Tile leaked;
      k.for_range(0, 4, 1, [&](Tile) { leaked = t.f * 2; }); leaked + 1);
  MISTAKE(
      "store: f32[64] was made inside a for_range or if_ body that has ended; carry it out of "
      "there",
      Tile leaked;
      k.if_(t.n > 0, [&] { leaked = t.f * 2; }, [&] { store(t.out, {0, 0}, leaked); }));
  MISTAKE(
      "for_range: more than 16 nested loops and branches",
      std::function<void(int)> nest =
          [&](int depth) {
            if (depth > 0) k.for_range(0, 2, 1, [&](Tile) { nest(depth - 1); });
          };
      nest(17));
}

TEST(Mistakes, EmptyTiles) {
  MISTAKE("add: an operand is an empty Tile, never given a value", Tile none; t.f + none);
  MISTAKE("store: an operand is an empty Tile, never given a value", store(t.out, {0, 0}, Tile()));
  MISTAKE("for: an operand is an empty Tile, never given a value",
          k.for_range(0, 2, 1, carry(Tile()), [](Tile, Tile a) { return carry(a); }));
  Tile of_another;
  (void)trace_kernel("other", [&](KernelBuilder& k) { of_another = k.index(1); });
  EXPECT_EQ(mistakes([&](KernelBuilder&, Things t) { t.n + of_another; }),
            "add: an operand belongs to another kernel");
}

TEST(Mistakes, PoisonIsSilent) {
  MISTAKE("exp: i32[64] is not one of f32; cast it first", Tile p = exp(t.i);
          store(t.out, {p, 0}, select(p < 1, -p, reduce_sum(p + 1, 0)));
          auto [a, b] = k.for_range(0, p, 1, carry(p, t.f),
                                    [](Tile, Tile a, Tile b) { return carry(b + a, a); });
          auto [c] = k.if_(
              p > 1, [&] { return carry(a); }, [&] { return carry(b); });
          store(t.out.bounded(1, p), {0, 0}, transpose(join(c, split(p).first), {1, 0}));
          gather(t.in, {0, 0}, p, 8); scatter(t.out, {0, 0}, p, p); sort(p, p, true); dot(p, p, p);
          dot_scaled({p, {}}, {p, p}, p); concat(p, p, 1); slice(p, 2, 0, 1); random_bits(p, p);
          histogram(p, 4));
}

}  // namespace
}  // namespace tessera::lang
