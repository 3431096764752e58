// SPDX-License-Identifier: Apache-2.0
// Products of every kind on every x86 level this machine has, against sums in double. Matrices end
// at an inaccessible page.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "tessera/base/element.h"
#include "tessera/compiler/lowering/cpu/dot_test_kernel.h"

namespace tessera::compiler::cpu {
namespace {

/// Bytes that end where reading faults.
class Guarded {
 public:
  explicit Guarded(int64_t bytes) {
    const int64_t page = 4096, used = (bytes + page - 1) / page * page;
    size_ = static_cast<size_t>(used + page);
    base_ = static_cast<uint8_t*>(
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + used, page, PROT_NONE);
    data_ = base_ + used - bytes;
  }
  Guarded(const Guarded&) = delete;
  ~Guarded() { munmap(base_, size_); }
  uint8_t* data() const { return data_; }

 private:
  uint8_t *base_, *data_;
  size_t size_;
};

enum class Scales { kUsual, kSmallest, kNan };

struct Matrix {
  Matrix(DType dtype, int64_t rows, int64_t columns)
      : dtype(dtype),
        stride(size_in_bytes(dtype, columns)),
        bytes(rows * stride),
        rows(rows),
        columns(columns) {}

  double at(int64_t row, int64_t column) const {
    return load_as_double(dtype, bytes.data() + row * stride, column);
  }

  void fill(std::mt19937& random) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        uint8_t* line = bytes.data() + r * stride;
        const float number = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 512;
        const uint32_t word = std::bit_cast<uint32_t>(number);
        const uint16_t half = static_cast<uint16_t>(word >> 16);
        switch (dtype) {
          case DType::f32: std::memcpy(line + 4 * c, &number, 4); break;
          case DType::bf16: std::memcpy(line + 2 * c, &half, 2); break;
          case DType::f4e2m1: line[c / 2] = static_cast<uint8_t>(random()); break;
          default:
            line[c] = static_cast<uint8_t>(random());
            if (dtype == DType::f8e4m3 && (line[c] & 127) == 127) line[c] ^= 1;
        }
      }
  }

  void fillScales(std::mt19937& random, int low, int high, Scales kind) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        const int code = low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
        if (dtype == DType::f32) {
          const float value = std::ldexp(1.0F, code - 127);
          std::memcpy(bytes.data() + r * stride + 4 * c, &value, 4);
          continue;
        }
        const bool special = kind != Scales::kUsual && random() % 16 == 0;
        const int extreme = kind == Scales::kNan ? 255 : static_cast<int>(random() % 2);
        bytes.data()[r * stride + c] = static_cast<uint8_t>(special ? extreme : code);
      }
  }

  DType dtype;
  int64_t stride;
  Guarded bytes;
  int64_t rows, columns;
};

struct Case {
  const char* name;
  TestProduct product;
  int64_t rows, columns, k;
  Scales scales = Scales::kUsual;
};

TestProduct fp4(int64_t m, int64_t n, int64_t k) {
  return {
      .a = DType::f8e4m3, .b = DType::f4e2m1, .m = m, .n = n, .k = k, .aGroup = 128, .bGroup = 32};
}

TestProduct fp8(int64_t m, int64_t n, int64_t k, DType scale = DType::f8e8m0) {
  return {.a = DType::f8e4m3,
          .b = DType::f8e4m3,
          .m = m,
          .n = n,
          .k = k,
          .aGroup = 128,
          .bGroup = 128,
          .bGroupRows = 128,
          .bScale = scale};
}

TestProduct plain(DType dtype, int64_t m, int64_t n, int64_t k) {
  return {.a = dtype, .b = dtype, .m = m, .n = n, .k = k};
}

TestProduct outer(DType dtype, int64_t m, int64_t n, int64_t k) {
  return {.a = dtype, .b = dtype, .m = m, .n = n, .k = k, .bIsKn = true};
}

TestProduct changed(TestProduct product, bool TestProduct::* flag, bool value) {
  product.*flag = value;
  return product;
}

std::vector<Case> cases() {
  const DType f32 = DType::f32, bf16 = DType::bf16, i8 = DType::i8, f8 = DType::f8e4m3;
  std::vector<Case> all = {
      {"f32_tile", plain(f32, 64, 64, 256), 64, 64, 512},
      {"f32_one", plain(f32, 1, 1, 256), 1, 64, 512},
      {"f32_few", plain(f32, 4, 16, 64), 4, 64, 128},
      {"f32_thin", plain(f32, 16, 2, 64), 16, 8, 128},
      {"f32_tiny", plain(f32, 2, 2, 4), 2, 4, 8},
      {"f32_k1", plain(f32, 1, 1, 1), 2, 4, 3},
      {"bf16_tile", plain(bf16, 64, 64, 256), 64, 64, 512},
      {"bf16_tile_plain_sums", changed(plain(bf16, 64, 32, 64), &TestProduct::carried, false), 64,
       64, 128},
      {"bf16_one", plain(bf16, 1, 1, 1024), 2, 8, 2048},
      {"bf16_few", plain(bf16, 8, 4, 128), 8, 8, 256},
      {"bf16_k16", plain(bf16, 16, 16, 16), 16, 16, 32},
      {"bf16_k2", plain(bf16, 16, 16, 2), 16, 16, 4},
      {"i8_tile", plain(i8, 64, 64, 256), 64, 64, 512},
      {"i8_few", plain(i8, 1, 4, 256), 1, 8, 512},
      {"i8_k1", plain(i8, 2, 4, 1), 2, 8, 3},
      {"fp8_always_packed", changed(fp8(2, 1, 256), &TestProduct::reuse, false), 2, 128, 512},
      {"fp8_plain_sums", changed(fp8(1, 64, 512), &TestProduct::carried, false), 1, 128, 1024},
      {"fp4_plain_sums", changed(fp4(4, 32, 512), &TestProduct::carried, false), 4, 64, 1024},
      {"fp4_tile", fp4(64, 64, 256), 64, 64, 512},
      {"fp4_tile_k2048", fp4(16, 16, 2048), 32, 16, 2048},
      {"fp4_tile_small", fp4(16, 16, 256), 16, 32, 512},
      {"fp4_tile_smallest_scales", fp4(32, 32, 256), 32, 32, 512, Scales::kSmallest},
      {"fp4_tile_nan_scales", fp4(32, 32, 256), 32, 32, 512, Scales::kNan},
      {"fp8_tile", fp8(64, 64, 256), 64, 64, 512},
      {"fp8_tile_f32_scales", fp8(32, 32, 256, f32), 32, 32, 512},
      {"fp8_tile_smallest_scales", fp8(32, 64, 128), 32, 256, 256, Scales::kSmallest},
      {"fp8_tile_nan_scales", fp8(32, 64, 128), 32, 256, 256, Scales::kNan},
      {"fp8_k8", {.a = f8, .b = f8, .m = 16, .n = 16, .k = 8}, 16, 16, 16},
      {"fp8_narrow_groups",
       {.a = f8, .b = f8, .m = 4, .n = 2, .k = 64, .aGroup = 32, .bGroup = 32},
       4,
       8,
       128},
      {"fp4_k32",
       {.a = f8, .b = DType::f4e2m1, .m = 2, .n = 2, .k = 32, .aGroup = 32, .bGroup = 32},
       2,
       8,
       64},
      {"fp4_k2",
       {.a = f8, .b = DType::f4e2m1, .m = 2, .n = 2, .k = 2, .aGroup = 2, .bGroup = 2},
       2,
       8,
       4},
      {"bf16_fp4_few",
       {.a = bf16, .b = DType::f4e2m1, .m = 1, .n = 1, .k = 512, .bGroup = 32},
       1,
       32,
       1024},
      {"bf16_fp4_tile",
       {.a = bf16, .b = DType::f4e2m1, .m = 16, .n = 16, .k = 512, .bGroup = 32},
       16,
       32,
       1024},
      {"f32_fp4_few",
       {.a = f32, .b = DType::f4e2m1, .m = 2, .n = 1, .k = 512, .bGroup = 32},
       2,
       32,
       1024},
      {"f32_fp4_tile",
       {.a = f32, .b = DType::f4e2m1, .m = 16, .n = 16, .k = 512, .bGroup = 32},
       16,
       32,
       1024},
      {"f32_fp8_tile", {.a = f32, .b = f8, .m = 32, .n = 32, .k = 256}, 32, 32, 512},
      {"f32_bf16_few", {.a = f32, .b = bf16, .m = 1, .n = 2, .k = 256}, 1, 32, 512},
      {"f32_bf16_tile", {.a = f32, .b = bf16, .m = 16, .n = 16, .k = 256}, 16, 16, 512},
      {"bf16_fp8_tile", {.a = bf16, .b = f8, .m = 32, .n = 32, .k = 256}, 32, 32, 512},
      {"bf16_fp8_few", {.a = bf16, .b = f8, .m = 4, .n = 2, .k = 256}, 4, 32, 512},
      {"bf16_scaled_few",
       {.a = bf16, .b = bf16, .m = 4, .n = 2, .k = 256, .aGroup = 64, .bGroup = 128},
       4,
       32,
       512},
      {"bf16_scaled_tile",
       {.a = bf16, .b = bf16, .m = 16, .n = 16, .k = 256, .bGroup = 128},
       16,
       16,
       512},
  };
  for (DType dtype : {f32, bf16, i8}) {
    const bool isF32 = dtype == f32, isBf16 = dtype == bf16;
    const auto name = [&](const char* a, const char* b, const char* c) {
      return isF32 ? a : isBf16 ? b : c;
    };
    all.push_back({name("kn_f32", "kn_bf16", "kn_i8"), outer(dtype, 64, 64, 64), 64, 64, 128});
    all.push_back({name("kn_f32_wide", "kn_bf16_wide", "kn_i8_wide"), outer(dtype, 64, 512, 64), 64,
                   512, 64});
    all.push_back(
        {name("kn_f32_one", "kn_bf16_one", "kn_i8_one"), outer(dtype, 1, 16, 32), 1, 64, 64});
    all.push_back(
        {name("kn_f32_tiny", "kn_bf16_tiny", "kn_i8_tiny"), outer(dtype, 2, 2, 1), 4, 4, 3});
  }
  for (int64_t m : {1, 2, 4, 8}) {
    all.push_back({"fp4_rows", fp4(m, m >= 4 ? 2 : 1, 1024), m, 32, 1024});
    all.push_back({"fp4_rows_smallest_scales", fp4(m, 1, 256), m, 32, 1024, Scales::kSmallest});
    all.push_back({"fp4_rows_nan_scales", fp4(m, 1, 1024), m, 32, 1024, Scales::kNan});
    all.push_back({"fp4_rows_of_eight", fp4(m, 8, 1024), m, 32, 2048});
    all.push_back(
        {"fp4_rows_of_eight_smallest_scales", fp4(m, 8, 256), m, 32, 1024, Scales::kSmallest});
    all.push_back({"fp4_rows_of_eight_nan_scales", fp4(m, 8, 256), m, 32, 1024, Scales::kNan});
    all.push_back({"fp8_rows_of_eight", fp8(m, 8, 1024), m, 32, 2048});
    all.push_back({"fp8_rows_of_eight_f32_scales", fp8(m, 8, 256, f32), m, 128, 512});
    all.push_back({"bf16_rows_of_eight", plain(bf16, m, 8, 256), m, 32, 512});
    all.push_back({"fp8_rows", fp8(m, m >= 4 ? 2 : 1, 512), m, 16, 1024});
    all.push_back({"fp8_rows_f32_scales", fp8(m, 1, 256, f32), m, 128, 512});
    all.push_back({"fp8_rows_smallest_scales", fp8(m, 1, 512), m, 256, 512, Scales::kSmallest});
    all.push_back({"fp8_rows_nan_scales", fp8(m, 1, 512), m, 256, 512, Scales::kNan});
  }
  for (int64_t used : {1, 2, 3, 4, 5, 8}) {
    const auto some = [](TestProduct product) {
      return changed(product, &TestProduct::someRows, true);
    };
    all.push_back({"fp4_some_rows", some(fp4(8, 2, 1024)), used, 16, 2048});
    all.push_back({"fp4_some_rows_of_eight", some(fp4(8, 8, 1024)), used, 16, 2048});
    all.push_back({"fp8_tile_some_rows", some(fp8(64, 64, 512)), used, 128, 1024});
    all.push_back({"fp8_some_rows", some(fp8(8, 2, 512)), used, 16, 1024});
    all.push_back({"bf16_some_rows", some(plain(bf16, 8, 2, 512)), used, 16, 1024});
    all.push_back({"f32_some_rows", some(plain(f32, 8, 4, 256)), used, 16, 512});
    all.push_back({"fp4_tile_some_rows", some(fp4(64, 16, 256)), used, 16, 512});
    all.push_back({"f32_tile_some_rows", some(plain(f32, 16, 16, 128)), used, 16, 256});
  }
  return all;
}

/// The matrices of a case and what its kernel makes of them.
class Outcome {
 public:
  Outcome(const Case& c, const TestKernel& kernel)
      : case_(c),
        // A tile reads all of its rows: those past `rows` are fill.
        a(c.product.a, c.product.someRows ? c.product.m : c.rows, c.k),
        b(c.product.b, c.product.bIsKn ? c.k : c.columns, c.product.bIsKn ? c.columns : c.k),
        aScale(c.product.aScale, a.rows, c.product.aGroup ? c.k / c.product.aGroup : 1),
        bScale(c.product.bScale, (c.columns + c.product.bGroupRows - 1) / c.product.bGroupRows,
               c.product.bGroup ? c.k / c.product.bGroup : 1),
        sums(c.product.a == DType::i8 ? DType::i32 : DType::f32, a.rows, c.columns) {
    std::mt19937 random(1);
    a.fill(random);
    b.fill(random);
    aScale.fillScales(random, 120, 130, Scales::kUsual);
    bScale.fillScales(random, 115, 129, c.scales);
    std::memset(sums.bytes.data(), 0xff, static_cast<size_t>(sums.rows * sums.stride));
    kernel({a.bytes.data(), a.stride, aScale.bytes.data(), aScale.stride, b.bytes.data(), b.stride,
            bScale.bytes.data(), bScale.stride, sums.bytes.data(), c.columns, c.rows, 0, c.columns,
            c.k});
    const TestProduct& p = c.product;
    for (int64_t m = 0; m < c.rows; ++m)
      for (int64_t k = 0; k < c.k; ++k)
        left_.push_back(a.at(m, k) * (p.aGroup ? aScale.at(m, k / p.aGroup) : 1));
    for (int64_t n = 0; n < c.columns; ++n)
      for (int64_t k = 0; k < c.k; ++k)
        right_.push_back((p.bIsKn ? b.at(k, n) : b.at(n, k)) *
                         (p.bGroup ? bScale.at(n / p.bGroupRows, k / p.bGroup) : 1));
  }

  double result(int64_t m, int64_t n) const { return sums.at(m, n); }

  /// The exact sum and the sum of magnitudes.
  std::pair<double, double> reference(int64_t m, int64_t n) const {
    const double *x = &left_[static_cast<size_t>(m * case_.k)],
                 *y = &right_[static_cast<size_t>(n * case_.k)];
    double sum = 0, magnitude = 0;
    for (int64_t k = 0; k < case_.k; ++k) {
      sum += x[k] * y[k];
      magnitude += std::abs(x[k] * y[k]);
    }
    return {sum, magnitude};
  }

 private:
  const Case& case_;
  Matrix a, b, aScale, bScale;
  std::vector<double> left_, right_;  // [rows, k], [columns, k], scales multiplied in

 public:
  Matrix sums;
};

class DotTest : public testing::TestWithParam<std::string> {};

TEST_P(DotTest, EqualsTheSumInDouble) {
  const TestLevel& level = testLevel(GetParam());
  if (!level.runsHere) GTEST_SKIP() << "this processor has no " << level.name;
  for (const Case& c : cases()) {
    SCOPED_TRACE(testing::Message() << c.name << " m " << c.product.m << " rows " << c.rows);
    auto kernel = TestKernel::compile(c.product, level);
    ASSERT_TRUE(kernel.ok()) << kernel.error().to_string();
    const Outcome run(c, *kernel);
    for (int64_t m = 0; m < c.rows; ++m)
      for (int64_t n = 0; n < c.columns; ++n) {
        const auto [sum, magnitude] = run.reference(m, n);
        const double result = run.result(m, n);
        if (std::isnan(sum)) {
          ASSERT_TRUE(std::isnan(result)) << m << ", " << n << ": " << result;
        } else if (c.product.a == DType::i8) {
          ASSERT_EQ(result, sum) << m << ", " << n;
        } else {
          ASSERT_NEAR(result, sum, 1e-6 * magnitude) << m << ", " << n;
        }
      }
  }
}

/// Rows next to a row never change its bits.
TEST_P(DotTest, GivesARowTheSameBitsInAnyCompany) {
  const TestLevel& level = testLevel(GetParam());
  if (!level.runsHere) GTEST_SKIP() << "this processor has no " << level.name;
  for (TestProduct product :
       {fp4(8, 2, 512), fp8(8, 2, 512), fp4(8, 8, 512), fp8(64, 16, 512),
        plain(DType::bf16, 8, 2, 512), fp4(64, 16, 256), plain(DType::f32, 32, 8, 128)}) {
    product.someRows = true;
    auto kernel = TestKernel::compile(product, level);
    ASSERT_TRUE(kernel.ok()) << kernel.error().to_string();
    const Case alone{"alone", product, 1, 16, 1024};
    const Outcome one(alone, *kernel);
    for (int64_t rows : {2, 3, 5, 8}) {
      const Case c{"together", product, rows, 16, 1024};
      const Outcome many(c, *kernel);
      EXPECT_EQ(std::memcmp(one.sums.bytes.data(), many.sums.bytes.data(), one.sums.stride), 0)
          << rows << " rows";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, DotTest,
                         testing::Values("sse2", "avx2", "avx512", "avx512bf16", "zen4",
                                         "sapphirerapids"),
                         [](const auto& info) { return info.param; });

struct Code {
  const char* level;
  TestProduct product;
  std::vector<std::string> has, lacks;
};

/// Each level uses the instructions it has, and no other.
TEST(DotCodeTest, UsesTheInstructionsOfTheLevel) {
  const TestProduct f32 = plain(DType::f32, 64, 64, 256), bf16 = plain(DType::bf16, 64, 64, 256);
  const TestProduct i8 = plain(DType::i8, 64, 64, 256);
  const std::vector<Code> all = {
      {"zen4", fp4(1, 1, 1024), {"vdpbf16ps", "vpermw", "vprolvd", "prefetcht1"}, {}},
      {"zen4", fp4(4, 2, 1024), {"vdpbf16ps", "vpermw", "vpsubusw"}, {}},
      {"zen4", fp8(1, 1, 1024), {"vdpbf16ps", "vpunpcklbw", "vpternlog"}, {}},
      {"zen4", fp8(64, 64, 256), {"vdpbf16ps", "vpsubusw"}, {}},
      {"zen4", bf16, {"vdpbf16ps"}, {"vfmadd"}},
      {"sapphirerapids", fp4(1, 1, 1024), {"vpdpbusd", "vpermb"}, {"vdpbf16ps"}},
      {"sapphirerapids", fp4(8, 8, 1024), {"tdpbf16ps", "ldtilecfg", "tilerelease"}, {"vdpbf16ps"}},
      {"sapphirerapids", fp8(64, 64, 512), {"tdpbf16ps", "vpsubusw"}, {"vdpbf16ps"}},
      {"sapphirerapids", bf16, {"tdpbf16ps"}, {"vdpbf16ps"}},
      {"avx512bf16", fp8(1, 1, 1024), {"vdpbf16ps"}, {"vpermi2b", "vpermt2b"}},
      {"avx512", bf16, {"vfmadd", "zmm"}, {"vdpbf16ps"}},
      {"avx512", fp4(1, 1, 1024), {"vperm", "vfmadd"}, {"vdpbf16ps"}},
      {"avx512", i8, {"vpmaddwd", "zmm"}, {"vpdpbusd"}},
      {"avx2", f32, {"vfmadd", "ymm"}, {"zmm"}},
      {"avx2", fp4(1, 1, 1024), {"vfmadd", "ymm"}, {"zmm"}},
      {"avx2", i8, {"vpmaddwd", "ymm"}, {"zmm"}},
      {"sse2", f32, {"mulps", "addps"}, {"vfmadd", "ymm", "fmaf"}},
      {"sse2", fp8(1, 1, 1024), {"mulps", "addps"}, {"ymm", "fmaf"}},
      {"sse2", i8, {"pmaddwd"}, {"ymm"}},
  };
  for (const Code& code : all) {
    auto kernel = TestKernel::compile(code.product, testLevel(code.level));
    ASSERT_TRUE(kernel.ok()) << kernel.error().to_string();
    const std::string& text = kernel->assembly();
    for (const std::string& word : code.has)
      EXPECT_NE(text.find(word), text.npos) << code.level << ": no " << word;
    for (const std::string& word : code.lacks)
      EXPECT_EQ(text.find(word), text.npos) << code.level << ": " << word;
  }
  auto kernel = TestKernel::compile(fp8(1, 1, 1024), testLevel("zen4"));
  ASSERT_TRUE(kernel.ok());
  const std::string& text = kernel->assembly();
  EXPECT_TRUE(text.find("vpermi2b") != text.npos || text.find("vpermt2b") != text.npos);
}

/// Vectors of SSE2 are a quarter of those of AVX-512: its loops go round more often.
TEST(DotCodeTest, CodeForNarrowVectorsIsNotUnrolledFurther) {
  const auto lines = [](const char* level) {
    const auto kernel = TestKernel::compile(fp8(1, 8, 1024), testLevel(level));
    return kernel.ok() ? std::ranges::count(kernel->assembly(), '\n') : 0;
  };
  const auto wide = lines("avx512"), narrow = lines("sse2");
  EXPECT_GT(wide, 0);
  EXPECT_LT(narrow, 2 * wide) << wide << " lines for AVX-512";
}

}  // namespace
}  // namespace tessera::compiler::cpu
