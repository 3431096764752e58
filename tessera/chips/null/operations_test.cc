// SPDX-License-Identifier: Apache-2.0
// One small kernel for each family of operations, with results worked out by hand.
#include "tessera/chips/null/operations.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tessera/base/float_formats.h"
#include "tessera/base/philox.h"
#include "tessera/chips/null/test_launch.h"

namespace tessera::chips::null {
namespace {

using lang::Access;
using lang::KernelBuilder;
using lang::Tile;
using lang::TileShape;
using lang::View;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::FloatEq;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, uint32_t>) return DType::u32;
  if constexpr (std::is_same_v<T, int64_t>) return DType::i64;
  if constexpr (std::is_same_v<T, uint8_t>) return DType::u8;
}

using Body = std::function<Tile(KernelBuilder&, Tile)>;

/// f of a tile of `in` (as `shape`), whatever its shape, as a vector.
template <class Out, class In>
std::vector<Out> apply(const std::vector<In>& in, TileShape shape, const Body& f) {
  TestLaunch run;
  const auto n = static_cast<int64_t>(in.size());
  run.tensor<In>({n}, in);
  int64_t size = 0;
  const auto body = [&](KernelBuilder& k) {
    View x = k.view("x", dtype_of<In>(), 1, Access::kRead),
         y = k.view("y", dtype_of<Out>(), 1, Access::kWrite);
    Tile result = f(k, reshape(load(x, {0}, {n}), shape));
    size = result.shape().numel();
    store(y, {0}, reshape(result, {size}));
  };
  (void)lang::trace_kernel("size", body);
  const size_t y = run.tensor<Out>({size}, std::vector<Out>(static_cast<size_t>(size)));
  const auto result = run.launch(body);
  EXPECT_TRUE(result.ok()) << result.error().to_string();
  return run.read<Out>(y);
}

TEST(Elementwise, Floats) {
  const std::vector<float> x = {-2, 0.5, 3, kNan};
  const auto floats = [&](const Body& f) { return apply<float>(x, {4}, f); };
  EXPECT_THAT(floats([](auto&, Tile v) { return select(v == v, (v * 2 + 1) / 4 - v, 7); }),
              ElementsAre(1.25f, 0, -1.25f, 7));
  EXPECT_THAT(floats([](auto&, Tile v) { return select(v != v, -1, abs(-v)); }),
              ElementsAre(2, 0.5f, 3, -1));
  const auto low = floats([](auto&, Tile v) { return min(v, 1); }),
             high = floats([](auto&, Tile v) { return max(1, v); });
  EXPECT_THAT(std::vector(low.begin(), low.end() - 1), ElementsAre(-2, 0.5f, 1));
  EXPECT_THAT(std::vector(high.begin(), high.end() - 1), ElementsAre(1, 1, 3));
  EXPECT_TRUE(std::isnan(low[3]) && std::isnan(high[3]));
  EXPECT_THAT(floats([](auto& k, Tile v) {
                return select((v > 0) & !(v >= 3), 1,
                              select(v < 0, k.constant(DType::f32, {}, 2), 3));
              }),
              ElementsAre(2, 1, 3, 3));
  EXPECT_THAT(apply<float>(std::vector<float>{1, 1 + 0x1p-12f}, {2},
                           [](auto&, Tile v) { return fma(v, v, -1); }),
              ElementsAre(0, 0x1p-11f + 0x1p-24f));
}

TEST(Elementwise, Functions) {
  const auto f = [](float x, const Body& body) {
    return apply<float>(std::vector<float>{x}, {1}, body)[0];
  };
  EXPECT_FLOAT_EQ(f(1, [](auto&, Tile v) { return exp(v); }), 2.7182818f);
  EXPECT_FLOAT_EQ(f(-3, [](auto&, Tile v) { return exp2(v); }), 0.125f);
  EXPECT_FLOAT_EQ(f(10, [](auto&, Tile v) { return log(v); }), 2.3025851f);
  EXPECT_FLOAT_EQ(f(1e-8f, [](auto&, Tile v) { return log1p(v); }), 1e-8f);
  EXPECT_EQ(f(9, [](auto&, Tile v) { return sqrt(v); }), 3);
  EXPECT_EQ(f(16, [](auto&, Tile v) { return rsqrt(v); }), 0.25f);
  EXPECT_EQ(f(0, [](auto&, Tile v) { return sigmoid(v); }), 0.5f);
  EXPECT_FLOAT_EQ(f(1, [](auto&, Tile v) { return sin(v); }), 0.84147098f);
  EXPECT_FLOAT_EQ(f(1, [](auto&, Tile v) { return cos(v); }), 0.54030231f);
}

TEST(Elementwise, Integers) {
  const std::vector<int32_t> x = {-7, 6, INT32_MAX, INT32_MIN};
  const auto ints = [&](const Body& f) { return apply<int32_t>(x, {4}, f); };
  EXPECT_THAT(ints([](auto&, Tile v) { return v + 1; }),
              ElementsAre(-6, 7, INT32_MIN, INT32_MIN + 1));
  EXPECT_THAT(ints([](auto&, Tile v) { return v * v; }), ElementsAre(49, 36, 1, 0));
  EXPECT_THAT(ints([](auto&, Tile v) { return v / 4; }),
              ElementsAre(-1, 1, INT32_MAX / 4, INT32_MIN / 4));
  EXPECT_THAT(ints([](auto&, Tile v) { return v % 4; }), ElementsAre(-3, 2, 3, 0));
  EXPECT_THAT(ints([](auto&, Tile v) { return v / -1; }),
              ElementsAre(7, -6, -INT32_MAX, INT32_MIN));
  EXPECT_THAT(ints([](auto&, Tile v) { return v >> 1; }),
              ElementsAre(-4, 3, INT32_MAX / 2, INT32_MIN / 2));
  EXPECT_THAT(ints([](auto&, Tile v) { return bitcast(bitcast(v, DType::u32) >> 28, DType::i32); }),
              ElementsAre(15, 0, 7, 8));
  EXPECT_THAT(ints([](auto&, Tile v) { return ((v & 15) | 16) ^ !(v << 4); }),
              ElementsAre(25 ^ ~(-7 * 16), 22 ^ ~96, 31 ^ ~-16, 16 ^ ~0));
  EXPECT_THAT(ints([](auto&, Tile v) { return cast(cast(v, DType::i64) + 1, DType::i32); }),
              ElementsAre(-6, 7, INT32_MIN, INT32_MIN + 1));
}

TEST(Cast, RoundsToNearestEvenAndSaturates) {
  const std::vector<float> x = {1 + 0x1p-8f, 1 + 0x3p-8f, 500, -0.3f};
  const auto rounded = [&](DType to) {
    return apply<float>(x, {4}, [&](auto&, Tile v) { return round_to(v, to); });
  };
  EXPECT_THAT(rounded(DType::bf16),
              ElementsAre(1, 1 + 0x2p-7f, 500, decode_bf16(encode_bf16(-0.3f))));
  EXPECT_THAT(rounded(DType::f8e4m3), ElementsAre(1, 1, 448, -0.3125f));
  EXPECT_THAT(rounded(DType::f8e5m2), ElementsAre(1, 1, 512, -0.3125f));
  EXPECT_THAT(rounded(DType::f4e2m1), ElementsAre(1, 1, 6, -0.5f));
  EXPECT_THAT(apply<float>(std::vector<float>{0.7f, 3}, {2},
                           [](auto&, Tile v) { return round_to(v, DType::f8e8m0); }),
              ElementsAre(0.5f, 2));  // half way goes to the even code
}

TEST(Cast, BetweenNumbers) {
  EXPECT_THAT(apply<int32_t>(std::vector<float>{-1.9f, 2.9f}, {2},
                             [](auto&, Tile v) { return cast(v, DType::i32); }),
              ElementsAre(-1, 2));
  EXPECT_THAT(apply<float>(std::vector<uint32_t>{0xffffffffu}, {1},
                           [](auto&, Tile v) { return cast(v, DType::f32); }),
              ElementsAre(4294967296.0f));
  EXPECT_THAT(apply<uint8_t>(std::vector<int32_t>{-1, 258}, {2},
                             [](auto&, Tile v) { return cast(v, DType::u8); }),
              ElementsAre(255, 2));
  EXPECT_THAT(apply<int32_t>(std::vector<uint8_t>{255}, {1},
                             [](auto&, Tile v) { return cast(bitcast(v, DType::i8), DType::i32); }),
              ElementsAre(-1));
  EXPECT_THAT(apply<int64_t>(std::vector<uint8_t>{255}, {1},
                             [](auto&, Tile v) { return cast(v, DType::i64); }),
              ElementsAre(255));
  EXPECT_THAT(apply<float>(std::vector<int32_t>{3, 4}, {2},
                           [](auto&, Tile v) { return cast(v > 3, DType::f32); }),
              ElementsAre(0, 1));
}

const std::vector<int32_t> kCount = {0, 1, 2, 3, 4, 5, 6, 7};

TEST(Shape, MovesElements) {
  const auto ints = [](TileShape shape, const Body& f) { return apply<int32_t>(kCount, shape, f); };
  EXPECT_THAT(ints({2, 4}, [](auto&, Tile v) { return transpose(v, {1, 0}); }),
              ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
  EXPECT_THAT(ints({2, 2, 2}, [](auto&, Tile v) { return transpose(v, {2, 0, 1}); }),
              ElementsAre(0, 2, 4, 6, 1, 3, 5, 7));
  EXPECT_THAT(ints({2, 4}, [](auto&, Tile v) { return slice(v, 1, 1, 2); }),
              ElementsAre(1, 2, 5, 6));
  EXPECT_THAT(
      ints({2, 4}, [](auto&, Tile v) { return concat(slice(v, 1, 3, 1), slice(v, 1, 0, 1), 1); }),
      ElementsAre(3, 0, 7, 4));
  EXPECT_THAT(
      ints({4, 2}, [](auto&, Tile v) { return concat(slice(v, 0, 3, 1), slice(v, 0, 0, 1), 0); }),
      ElementsAre(6, 7, 0, 1));
  EXPECT_THAT(ints({2, 4}, [](auto&, Tile v) { return split(v).second; }), ElementsAre(1, 3, 5, 7));
  EXPECT_THAT(ints({2, 4}, [](auto&, Tile v) { return join(split(v).second, split(v).first); }),
              ElementsAre(1, 0, 3, 2, 5, 4, 7, 6));
  EXPECT_THAT(
      ints({8},
           [](auto&, Tile v) { return slice(v, 0, 0, 2) + reshape(slice(v, 0, 6, 2), {2, 1}); }),
      ElementsAre(6, 7, 7, 8));
  EXPECT_THAT(ints({8}, [](auto& k, Tile) { return k.iota({2, 2, 2}, 1); }),
              ElementsAre(0, 0, 1, 1, 0, 0, 1, 1));
}

TEST(Across, Reductions) {
  const std::vector<float> x = {1, 5, 5, -2, kNan, 3, kNan, 4};
  const auto reduce = [&](const Body& f) { return apply<float>(x, {2, 4}, f); };
  const auto index = [&](const Body& f) { return apply<int32_t>(x, {2, 4}, f); };
  EXPECT_EQ(reduce([](auto&, Tile v) { return reduce_sum(v, 1); })[0], 9);
  EXPECT_EQ(reduce([](auto&, Tile v) { return reduce_max(v, 1); })[0], 5);
  EXPECT_EQ(reduce([](auto&, Tile v) { return reduce_min(v, 1); })[0], -2);
  EXPECT_TRUE(std::isnan(reduce([](auto&, Tile v) { return reduce_max(v, 1); })[1]));
  EXPECT_THAT(index([](auto&, Tile v) { return argmax(v, 1); }), ElementsAre(1, 3));
  EXPECT_THAT(index([](auto&, Tile v) { return argmin(v, 1); }), ElementsAre(3, 1));
  EXPECT_THAT(index([](auto&, Tile v) { return argmax(v, 0); }), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(apply<int32_t>(kCount, {2, 4}, [](auto&, Tile v) { return reduce_sum(v, 0); }),
              ElementsAre(4, 6, 8, 10));
  EXPECT_THAT(apply<int32_t>(kCount, {2, 4}, [](auto&, Tile v) { return scan_sum(v, 1); }),
              ElementsAre(0, 1, 3, 6, 4, 9, 15, 22));
  EXPECT_THAT(apply<int32_t>(kCount, {4, 2}, [](auto&, Tile v) { return scan_sum(v, 0); }),
              ElementsAre(0, 1, 2, 4, 6, 9, 12, 16));
}

TEST(Across, TakeHistogramLookup) {
  EXPECT_THAT(apply<int32_t>(kCount, {2, 4},
                             [](auto& k, Tile v) {
                               return take(v, 5 * k.iota({2, 2}, 1) - 1 + k.iota({2, 2}, 0));
                             }),
              ElementsAre(0, 0, 4, 0));
  EXPECT_THAT(apply<int32_t>(std::vector<int32_t>{3, 1, -1, 3, 9, 0, 3, 1}, {8},
                             [](auto&, Tile v) { return histogram(v, 4); }),
              ElementsAre(1, 2, 0, 3));
  EXPECT_THAT(
      apply<int32_t>(kCount, {8}, [](auto&, Tile v) { return histogram_masked(v / 4, v > 5, 2); }),
      ElementsAre(0, 2));
  std::array<float, 16> table;
  for (size_t i = 0; i < 16; ++i) table[i] = decode_e2m1(static_cast<uint8_t>(i));
  EXPECT_THAT(apply<float>(std::vector<uint8_t>{0x1f, 0x03}, {2},
                           [&](auto&, Tile v) { return lookup(table, v); }),
              ElementsAre(-6, 1.5f));
}

TEST(Across, SortIsStableByValueAndPutsNanLast) {
  const std::vector<float> keys = {1, kNan, 3, 1, -kInf, 3, 0, kNan};
  const auto sorted = [&](bool descending, bool values) {
    const Body f = [=](KernelBuilder& k, Tile v) {
      auto [key, value] = sort(v, 7 - k.iota({8}, 0), descending);
      return values ? cast(value, DType::f32) : select(key == key, key, 99);
    };
    return apply<float>(keys, {8}, f);
  };
  EXPECT_THAT(sorted(false, false), ElementsAre(-kInf, 0, 1, 1, 3, 3, 99, 99));
  EXPECT_THAT(sorted(false, true), ElementsAre(3, 1, 4, 7, 2, 5, 0, 6));
  EXPECT_THAT(sorted(true, false), ElementsAre(3, 3, 1, 1, 0, -kInf, 99, 99));
  EXPECT_THAT(sorted(true, true), ElementsAre(2, 5, 4, 7, 1, 3, 0, 6));
}

TEST(Random, BitsOfACounter) {
  const uint64_t seed = 0x123456789abcdef0;
  EXPECT_THAT(apply<uint32_t>(std::vector<uint32_t>{0, 5}, {2},
                              [&](auto&, Tile v) { return random_bits(v, int64_t(seed)); }),
              ElementsAre(philox_bits(0, seed), philox_bits(5, seed)));
}

TEST(Dot, AddsProductsToTheAccumulator) {
  const std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};
  // [[1, 2], [3, 4]] times the transpose of [[5, 6], [7, 8]], and times it as it is.
  const auto halves = [](Tile v) {
    return std::pair(reshape(slice(v, 0, 0, 4), {2, 2}), reshape(slice(v, 0, 4, 4), {2, 2}));
  };
  EXPECT_THAT(apply<float>(
                  x, {8}, [&](auto&, Tile v) { return dot(halves(v).first, halves(v).second, 1); }),
              ElementsAre(18, 24, 40, 54));
  EXPECT_THAT(
      apply<float>(x, {8},
                   [&](auto&, Tile v) { return dot_kn(halves(v).first, halves(v).second, 0); }),
      ElementsAre(19, 22, 43, 50));
  EXPECT_THAT(apply<float>(x, {8},
                           [&](auto&, Tile v) {
                             auto [a, b] = halves(cast(v, DType::bf16));
                             return dot(a, b, 0);
                           }),
              ElementsAre(17, 23, 39, 53));
  EXPECT_THAT(apply<int32_t>(std::vector<int32_t>{-128, 127, -1, 1, 2, -2, -128, -128}, {8},
                             [&](auto&, Tile v) {
                               auto [a, b] = halves(cast(v, DType::i8));
                               return dot(a, b, 1);
                             }),
              ElementsAre(-509, 129, -3, 1));
}

TEST(Dot, ScalesGroups) {
  // a [1, 4] in e4m3 with one scale for two elements; b [2, 4] in e2m1 with one scale for two
  // elements.
  const std::vector<float> x = {1, 2, 3, 4, 0.5f, 1, 1.5f, 2, 3, 4, 6, -6, 0, 0, 0, 0};
  const auto result = apply<float>(x, {16}, [](KernelBuilder& k, Tile v) {
    Tile a = cast(reshape(slice(v, 0, 0, 4), {1, 4}), DType::f8e4m3);
    Tile b = cast(reshape(slice(v, 0, 4, 8), {2, 4}), DType::f4e2m1);
    Tile a_scale = cast(exp2(cast(k.iota({1, 2}, 1), DType::f32)), DType::f8e8m0);  // 1, 2
    Tile b_scale = exp2(cast(k.iota({2, 2}, 0) - k.iota({2, 2}, 1), DType::f32));   // 1, 1/2; 2, 1
    return lang::dot_scaled({a, a_scale}, {b, b_scale}, 100);
  });
  // row 0: (1 * .5 + 2 * 1) * 1 + (3 * 1.5 + 4 * 2) * 2 / 2 = 2.5 + 12.5
  // row 1: (1 * 3 + 2 * 4) * 2 + (3 * 6 + 4 * -6) * 2 * 1 = 22 - 12
  EXPECT_THAT(result, ElementsAre(115, 110));
}

TEST(Dot, PromotesPartialSumsEvery128) {
  // 2^24 + 1 is no f32. One sum over 256 ones after 2^24 would stay there; sums of 128 do not.
  const auto result = apply<float>(std::vector<float>{1}, {1}, [](KernelBuilder& k, Tile) {
    Tile ones = k.constant(DType::bf16, {1, 256}, 1);
    return lang::dot_scaled({ones, {}}, {ones, {}}, 0x1p24);
  });
  EXPECT_THAT(result, ElementsAre(0x1p24f + 256));
}

}  // namespace
}  // namespace tessera::chips::null
