// SPDX-License-Identifier: Apache-2.0
// Elementwise operations and conversions of compiled kernels: every code of the small formats, many
// floats, special values.
#include <bit>
#include <limits>

#include "tessera/base/float_formats.h"
#include "tessera/chips/cpu/target_differential.h"

namespace tessera::chips::cpu {
namespace {

using lang::Access;
using lang::KernelBuilder;
using lang::Tile;
using lang::View;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TestTensor zeros(DType dtype, std::vector<int64_t> shape) {
  return tensor(dtype, std::move(shape), [](int64_t) { return 0.0; });
}

/// Kernel of one program for each 256 elements of x and y.
auto mapKernel(DType from, DType to, std::function<Tile(Tile)> function) {
  return [=](KernelBuilder& k) {
    View x = k.view("x", from, 1, Access::kRead), y = k.view("y", to, 1, Access::kWrite);
    Tile at = k.program_id(0) * 256;
    store(y, {at}, function(load(x, {at}, {256})));
  };
}

/// f32 numbers of all exponents: bit patterns stepped by an odd number, special values first.
TestTensor manyFloats(int64_t count) {
  TestTensor t{DType::f32, {count}, std::vector<std::byte>(static_cast<size_t>(4 * count))};
  const std::vector<uint32_t> special = {0,          0x80000000, 1,          0x80000001, 0x007fffff,
                                         0x00800000, 0x3f800000, 0xbf800000, 0x7f7fffff, 0xff7fffff,
                                         0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x7f800001,
                                         0x33800000, 0x47800000, 0x43e00000, 0x43e80000, 0x43e7ffff,
                                         0x477fefff, 0x477ff000, 0x40b00000, 0x40a00000};
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = i < static_cast<int64_t>(special.size())
                              ? special[static_cast<size_t>(i)]
                              : static_cast<uint32_t>(i) * 2654435761u;
    std::memcpy(t.bytes.data() + 4 * i, &bits, 4);
  }
  return t;
}

class SmallFormats : public testing::TestWithParam<DType> {};

TEST_P(SmallFormats, DecodeEveryCode) {
  const DType dtype = GetParam();
  const int64_t codes = dtype == DType::f4e2m1 ? 256 : int64_t{1} << bits(dtype);
  TestTensor x{
      dtype, {codes}, std::vector<std::byte>(static_cast<size_t>(size_in_bytes(dtype, codes)))};
  for (size_t i = 0; i < x.bytes.size(); ++i)
    x.bytes[i] = std::byte(bits(dtype) == 16 ? (i % 2 ? i / 2 / 256 : i / 2) & 255 : i & 255);
  Differential test({x, zeros(DType::f32, {codes})});
  test.run(mapKernel(dtype, DType::f32, [](Tile v) { return cast(v, DType::f32); }),
           {.x = static_cast<uint32_t>(codes / 256)});
}

TEST_P(SmallFormats, EncodeManyFloats) {
  Differential test({manyFloats(1 << 16), zeros(GetParam(), {1 << 16})});
  const DType to = GetParam();
  test.run(mapKernel(DType::f32, to, [=](Tile v) { return cast(v, to); }), {.x = 256});
}

INSTANTIATE_TEST_SUITE_P(CpuTarget, SmallFormats,
                         testing::Values(DType::bf16, DType::f16, DType::f8e4m3, DType::f8e5m2,
                                         DType::f8e8m0, DType::f4e2m1),
                         [](const auto& info) { return std::string(name(info.param)); });

/// Every bf16 number times powers of two, as quantising does it; whole lines of codes at a time
/// where the view is streamed.
TEST(CpuTarget, ScalesByPowersOfTwoToE4m3) {
  constexpr int32_t kExponents[] = {-5, 1, 7, 8, 112, 127, 149, 239, 300};
  constexpr int64_t kNumbers = 1 << 16, kScales = std::size(kExponents);
  TestTensor x{DType::bf16, {kNumbers}, std::vector<std::byte>(2 * kNumbers)};
  for (int64_t i = 0; i < kNumbers; ++i) {
    const auto code = static_cast<uint16_t>(i);
    std::memcpy(x.bytes.data() + 2 * i, &code, 2);
  }
  const TestTensor exponents =
      tensor(DType::i32, {kScales}, [&](int64_t i) { return int64_t{kExponents[i]}; });
  for (const bool streamed : {false, true}) {
    Differential test({x, exponents, zeros(DType::f8e4m3, {kScales, kNumbers})});
    test.run(
        [&](KernelBuilder& k) {
          View numbers = k.view("x", DType::bf16, 1, Access::kRead),
               scales = k.view("scales", DType::i32, 1, Access::kRead),
               y = k.view("y", DType::f8e4m3, 2, Access::kWrite, {.streamed = streamed});
          const Tile at = k.program_id(0) * 256, row = k.program_id(1);
          const Tile exponent = min(max(reshape(load(scales, {row}, {1}), {1, 1}), 1), 239);
          const Tile wide = reshape(cast(load(numbers, {at}, {256}), DType::f32), {1, 256});
          const Tile scale = bitcast(exponent << 23, DType::f32);
          store(y, {row, at}, cast(wide * scale, DType::f8e4m3));
        },
        {.x = kNumbers / 256, .y = kScales});
  }
}

struct Function {
  const char* name;
  Tile (*apply)(Tile);
  double (*reference)(double);
  double from, to;
  int64_t ulps;
  double largest = kInfinity;  // arguments beyond it are not checked
};

class Functions : public testing::TestWithParam<Function> {};

int64_t ulpsOff(double exact, float got) {
  const float want = static_cast<float>(exact);
  if (std::isnan(want) || std::isnan(got))
    return std::isnan(want) && std::isnan(got) ? 0 : INT64_MAX;
  const auto order = [](float v) {
    const int32_t b = std::bit_cast<int32_t>(v);
    return b >= 0 ? int64_t{b} : -int64_t{b & 0x7fffffff};
  };
  return std::abs(order(want) - order(got));
}

TEST_P(Functions, StayWithinTheirError) {
  const Function& f = GetParam();
  constexpr int64_t kCount = 1 << 16;
  const TestTensor x = tensor(DType::f32, {kCount}, [&](int64_t i) {
    const double special[] = {0.0,    -0.0, 1.0,   -1.0, kInfinity, -kInfinity, std::nan(""), 1e-40,
                              -1e-40, 3e38, -3e38, 88.8, -87.5,     -103.9,     0.5};
    if (i < static_cast<int64_t>(std::size(special))) return special[i];
    return f.from + (f.to - f.from) * static_cast<double>(i) / kCount;
  });
  for (const char* level : {"sse2", "avx2", "avx512"}) {
    Differential test({x, zeros(DType::f32, {kCount})});
    test.levels = {level};
    test.ulps = INT64_MAX;  // the interpreter uses the library's functions; the reference decides
    if (!runtime::open_device("cpu:" + std::string(level)).ok()) continue;
    test.run(mapKernel(DType::f32, DType::f32, f.apply), {.x = kCount / 256});
    int64_t worst = 0, where = 0;
    for (int64_t i = 0; i < kCount; ++i) {
      if (std::abs(x.at(i)) > f.largest) continue;
      if (const int64_t off = ulpsOff(f.reference(double{x.at(i)}), test.result(1).at(i));
          off > worst)
        worst = off, where = i;
    }
    EXPECT_LE(worst, f.ulps) << level << ": x = " << x.at(where) << ", "
                             << test.result(1).at(where);
  }
}

INSTANTIATE_TEST_SUITE_P(
    CpuTarget, Functions,
    testing::Values(Function{"exp", [](Tile x) { return exp(x); },
                             [](double x) { return std::exp(x); }, -110, 95, 2},
                    Function{"exp_small", [](Tile x) { return exp(x); },
                             [](double x) { return std::exp(x); }, -1, 1, 2},
                    Function{"exp2", [](Tile x) { return exp2(x); },
                             [](double x) { return std::exp2(x); }, -155, 130, 2},
                    Function{"log", [](Tile x) { return log(x); },
                             [](double x) { return std::log(x); }, 1e-3, 4, 3},
                    Function{"log_wide", [](Tile x) { return log(x); },
                             [](double x) { return std::log(x); }, -1, 1e30, 3},
                    Function{"log1p", [](Tile x) { return log1p(x); },
                             [](double x) { return std::log1p(x); }, -1.1, 3, 3},
                    Function{"log1p_small", [](Tile x) { return log1p(x); },
                             [](double x) { return std::log1p(x); }, -1e-3, 1e-3, 3},
                    Function{"sigmoid", [](Tile x) { return sigmoid(x); },
                             [](double x) { return 1 / (1 + std::exp(-x)); }, -108, 40, 4},
                    Function{"sqrt", [](Tile x) { return sqrt(x); },
                             [](double x) { return std::sqrt(x); }, -1, 1e10, 0},
                    Function{"sin", [](Tile x) { return sin(x); },
                             [](double x) { return std::sin(x); }, -100, 100, 3, 1 << 20},
                    Function{"cos", [](Tile x) { return cos(x); },
                             [](double x) { return std::cos(x); }, -1048000, 1048000, 3, 1 << 20}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(CpuTarget, IntegerOperations) {
  const auto numbers = [](int64_t i) { return (i * 7919 - 3000) % 5000; };
  const auto divisors = [](int64_t i) { return i % 2 ? i % 31 + 1 : -(i % 17) - 1; };
  for (DType dtype : {DType::i32, DType::i64}) {
    Differential test(
        {tensor(dtype, {256}, numbers), tensor(dtype, {256}, divisors), zeros(dtype, {16, 256})});
    test.run([&](KernelBuilder& k) {
      View x = k.view("x", dtype, 1, Access::kRead), y = k.view("y", dtype, 1, Access::kRead);
      View out = k.view("out", dtype, 2, Access::kWrite);
      Tile a = load(x, {0}, {256}), b = load(y, {0}, {256});
      int row = 0;
      for (Tile r : {a + b, a - b, a * b, a / b, a % b, a & b, a | b, a ^ b, a << 3, a >> 2,
                     min(a, b), max(a, b), -a, abs(a), !a, select(a < b, a, b)})
        store(out, {row++, 0}, reshape(r, {1, 256}));
    });
  }
}

TEST(CpuTarget, UnsignedOperations) {
  Differential test({tensor(DType::u32, {256}, [](int64_t i) { return i * 2654435761; }),
                     tensor(DType::u32, {256}, [](int64_t i) { return i * 40503 + 1; }),
                     zeros(DType::u32, {8, 256}), zeros(DType::f32, {256})});
  test.run([](KernelBuilder& k) {
    View x = k.view("x", DType::u32, 1, Access::kRead),
         y = k.view("y", DType::u32, 1, Access::kRead);
    View out = k.view("out", DType::u32, 2, Access::kWrite),
         f = k.view("f", DType::f32, 1, Access::kWrite);
    Tile a = load(x, {0}, {256}), b = load(y, {0}, {256});
    int row = 0;
    for (Tile r : {a / b, a % b, a >> 5, min(a, b), max(a, b), select(a > b, a, b),
                   random_bits(a, int64_t{1234567890123})})
      store(out, {row++, 0}, reshape(r, {1, 256}));
    store(f, {0}, cast(a, DType::f32));
  });
}

TEST(CpuTarget, FloatOperationsWithSpecialValues) {
  const auto special = [](int64_t i) {
    const double values[] = {0.0, -0.0, 1.5, -2.25, kInfinity, -kInfinity, std::nan(""), 1e-42};
    return values[i % 8];
  };
  Differential test({tensor(DType::f32, {64}, special),
                     tensor(DType::f32, {64}, [&](int64_t i) { return special(i / 8); }),
                     zeros(DType::f32, {8, 64}), zeros(DType::i32, {6, 64})});
  test.run([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 1, Access::kRead),
         y = k.view("y", DType::f32, 1, Access::kRead);
    View out = k.view("out", DType::f32, 2, Access::kWrite),
         flags = k.view("flags", DType::i32, 2, Access::kWrite);
    Tile a = load(x, {0}, {64}), b = load(y, {0}, {64});
    int row = 0;
    for (Tile r : {a + b, a * b, a / b, max(a, b), min(a, b), abs(a), -a, rsqrt(a)})
      store(out, {row++, 0}, reshape(r, {1, 64}));
    row = 0;
    for (Tile r : {a == b, a != b, a<b, a <= b, a> b, a >= b})
      store(flags, {row++, 0}, reshape(cast(r, DType::i32), {1, 64}));
  });
}

TEST(CpuTarget, CastsBetweenIntegersAndFloats) {
  Differential test(
      {tensor(DType::f32, {64}, [](int64_t i) { return (static_cast<double>(i) - 32) * 1234.56; }),
       zeros(DType::i32, {64}), zeros(DType::i64, {64}), zeros(DType::i8, {64}),
       zeros(DType::i16, {64}), zeros(DType::u8, {64}), zeros(DType::f32, {64})});
  test.run([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 1, Access::kRead);
    Tile v = load(x, {0}, {64});
    for (DType to : {DType::i32, DType::i64, DType::i8, DType::i16, DType::u8}) {
      View y = k.view(std::string(name(to)), to, 1, Access::kWrite);
      store(y, {0}, cast(cast(v, DType::i32), to));
    }
    View f = k.view("back", DType::f32, 1, Access::kWrite);
    store(f, {0}, cast(cast(v, DType::i64), DType::f32));
  });
}

TEST(CpuTarget, LooksUpTables) {
  std::array<float, 16> table;
  for (int i = 0; i < 16; ++i) table[static_cast<size_t>(i)] = static_cast<float>(i * i) - 7.5f;
  for (DType dtype : {DType::u8, DType::i32}) {
    Differential test(
        {tensor(dtype, {256}, [](int64_t i) { return i * 37; }), zeros(DType::f32, {256})});
    test.run(mapKernel(dtype, DType::f32, [=](Tile code) { return lookup(table, code); }));
  }
}

}  // namespace
}  // namespace tessera::chips::cpu
