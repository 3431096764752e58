// SPDX-License-Identifier: Apache-2.0
// The quantised KV cache holds the numbers of the bf16 cache, and attention over either gives the
// same bits.
// Usage: quantised_cache_test --device=cpu:avx2 [gtest options]; 77: there is no such device here.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/compiler/jit.h"
#include "tessera/ops/attention/kv_dequantise.h"
#include "tessera/ops/attention/kv_quant_insert.h"
#include "tessera/ops/attention/sparse_attention.h"
#include "tessera/ops/frame/testing/operator_runner.h"
#include "tessera/ops/norm/kv_norm_rope_insert.h"

namespace tessera::ops {
namespace {

constexpr int64_t kRows = 80, kKeys = 70, kHeads = 4;

/// Numbers that differ from each other and look like nothing in particular.
std::vector<uint16_t> bf16_values(int64_t count, double scale, double seed) {
  std::vector<uint16_t> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = encode_bf16(scale * std::sin(seed + 0.37 * static_cast<double>(i * (1 + i % 13))));
  return out;
}

std::string& device_spec() {
  static std::string spec = "cpu";
  return spec;
}

TEST(QuantisedCache, HoldsTheBitsOfTheBf16Cache) {
  testing::OperatorRunner runner(device_spec(),
                                 std::make_shared<compiler::Jit>(compiler::all_targets()));
  for (const int64_t width : {128, 512}) {
    const int64_t bytes = QuantisedRow{width}.bytes();
    std::vector<uint16_t> values = bf16_values(kRows * width, 1, 1);
    for (int64_t d = 0; d < width; ++d) {
      values[static_cast<size_t>(d)] = 0;  // a zero row
      values[static_cast<size_t>(width + d)] =
          encode_bf16(d % 3 == 0 ? 1e30 : 1);  // codes that vanish
    }
    std::vector<float> cosines(kRows * 32), sines(kRows * 32);
    for (size_t i = 0; i < cosines.size(); ++i) {
      cosines[i] = std::cos(static_cast<float>(i));
      sines[i] = std::sin(static_cast<float>(i));
    }
    std::vector<int32_t> slots(kRows);
    for (size_t t = 0; t < slots.size(); ++t) slots[t] = static_cast<int32_t>((t * 37 + 5) % kRows);
    const auto x = runner.upload(values), w = runner.upload(bf16_values(width, 2, 9)),
               cos = runner.upload(cosines), sin = runner.upload(sines),
               slot = runner.upload(slots);
    const auto plain = runner.upload(std::vector<uint16_t>(kRows * width, 0x7fc0)),
               quantised = runner.upload(std::vector<uint8_t>(kRows * bytes, 0xff)),
               decoded = runner.upload(std::vector<uint16_t>(kRows * width, 0x7fc0));
    const std::map<std::string, int64_t> dims = {
        {"T", kRows}, {"P", kRows}, {"S", kRows}, {"D", width}};
    std::map<std::string, DType> types = {
        {"x", DType::bf16}, {"w", DType::bf16}, {"slots", DType::i32}};
    auto quantised_dims = dims;
    quantised_dims["B"] = bytes;
    runner.run<KvQuantInsert>(quantised_dims, types, {}, {x, w, {}, cos, sin, slot, quantised});
    types["cache"] = DType::bf16;
    runner.run<KvNormRopeInsert>(dims, types, {}, {x, w, {}, cos, sin, slot, plain, {}});
    runner.run<KvDequantise>({{"R", kRows}, {"B", bytes}, {"M", kRows}, {"D", width}}, {}, {},
                             {quantised, {}, decoded});
    EXPECT_EQ(runner.download<uint16_t>(decoded), runner.download<uint16_t>(plain))
        << "width " << width;

    // Skips the row of huge numbers, which would take all the weight.
    std::vector<int32_t> list(2 * kKeys);
    for (size_t i = 0; i < list.size(); ++i)
      list[i] = i % 9 == 4 ? -1 : slots[2 + (i * 29) % (kRows - 2)];
    const auto q = runner.upload(bf16_values(2 * kHeads * width, 1, 4)),
               indices = runner.upload(list),
               sink = runner.upload(std::vector<float>(kHeads, 0.5f));
    const auto attend = [&](const char* kv, DType dtype, const auto& cache) {
      const auto out = runner.upload(std::vector<uint16_t>(2 * kHeads * width, 0x7fc0));
      const bool is_plain = dtype == DType::bf16;
      using Tensor = testing::OperatorRunner::Tensor;
      std::map<std::string, int64_t> sizes = {
          {"T", 2}, {"H", kHeads}, {"D", width}, {"R", kRows}, {"N", kKeys}};
      if (!is_plain) sizes["B"] = bytes;
      runner.run<SparseAttention>(
          sizes, {{"q", DType::bf16}, {kv, dtype}, {"out", DType::bf16}},
          {{"scale", 1 / std::sqrt(static_cast<double>(width))}},
          {q, is_plain ? cache : Tensor(), indices, sink, out, is_plain ? Tensor() : cache});
      return runner.download<uint16_t>(out);
    };
    const auto expected = attend("kv", DType::bf16, plain);
    EXPECT_EQ(attend("kv_quantised", DType::u8, quantised), expected) << "width " << width;
    EXPECT_NE(expected, std::vector<uint16_t>(expected.size(), expected[0]));
  }
}

}  // namespace
}  // namespace tessera::ops

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string_view argument = argc > 1 ? argv[1] : "";
  if (argument.starts_with("--device=")) tessera::ops::device_spec() = argument.substr(9);
  const auto device = tessera::runtime::open_device(tessera::ops::device_spec());
  if (!device.ok()) {
    std::fprintf(stderr, "skipped: %s\n", device.error().message.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
