// SPDX-License-Identifier: Apache-2.0
// The bits of a token's rows in the grouped expert products are those it has with all other tokens
// of the batch taken out of their tiles. (Operators with one row a token are covered by
// `tessera ops test --bits`.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tessera/compiler/jit.h"
#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/device_run.h"
#include "tessera/ops/moe/kernels/product_cases.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::ops {
namespace {

constexpr int64_t kPerToken = 6;

class ExpertRows : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<runtime::Device> device_ = runtime::open_device("cpu", {.threads = 2}).value();
  kernels::KernelLibrary library_{
      *device_, {.provider = std::make_shared<compiler::Jit>(compiler::all_targets())}};
};

TEST_P(ExpertRows, AreThoseOfATokenAlone) {
  const Operator& op = *find_operator(GetParam()).value();
  int64_t tokens = 0;
  for (const Case& test_case : op.cases()) {
    if (!test_case.test || test_case.dims.at("P") < 2 * kPerToken) continue;
    const CaseData data = CaseData::make(op, test_case, CaseData::Content::kInputs).value();
    const Problem& problem = data.problem();
    DeviceRun run = DeviceRun::create(library_, op, problem, {.deterministic = true}).value();
    const auto rows = [&](const std::vector<HostTensor>& inputs) {
      run.reset(inputs, 0xa5).value();
      run.launch().value();
      return std::move(run.download().value()[static_cast<size_t>(problem.tensor_index("y"))]);
    };
    const HostTensor together = rows(data.inputs());
    const auto slots = static_cast<size_t>(problem.tensor_index("slots"));
    const size_t bytes = together.bytes().size() / static_cast<size_t>(problem.dim("P"));
    for (int64_t token = 0; token < problem.dim("P") / kPerToken; ++token, ++tokens) {
      std::vector<HostTensor> inputs = data.inputs();
      for (int64_t s = 0; s < inputs[slots].numel(); ++s)
        if (inputs[slots].flat(s) / kPerToken < static_cast<double>(token) ||
            inputs[slots].flat(s) / kPerToken >= static_cast<double>(token + 1))
          inputs[slots].set_flat(s, -1);
      const HostTensor alone = rows(inputs);
      const size_t first = static_cast<size_t>(token * kPerToken) * bytes;
      EXPECT_EQ(std::memcmp(alone.bytes().data() + first, together.bytes().data() + first,
                            kPerToken * bytes),
                0)
          << op.signature->name << " " << case_text(op, test_case) << ", token " << token;
    }
  }
  EXPECT_GE(tokens, 30);
}

/// A step of one token, whose tiles are taken in parts, with each of its pairs somewhere in a tile
/// of its own.
TEST_P(ExpertRows, AreThoseOfAStepOfOneToken) {
  constexpr int64_t kTokens = 12, kExperts = 3, kBlock = 64, kRows = 72, kColumns = 384;
  const std::string name = GetParam();
  const gemm::WeightFormat& format = name == "moe_gemm_bf16"  ? gemm::kBf16
                                     : name == "moe_gemm_fp4" ? gemm::kFp4
                                                              : gemm::kFp8;
  const Operator& op = *find_operator(name).value();
  const DType x = format.has_scales() ? DType::f8e4m3 : DType::bf16;
  const auto data_of = [&](int64_t tokens, int64_t experts) {
    Case c = moe::product_case(format, tokens, experts, kBlock, kRows, kColumns, 1,
                               moe::product_dtypes(x, DType::f32));
    c.test = true;
    return CaseData::make(op, c, CaseData::Content::kInputs).value();
  };
  const CaseData many = data_of(kTokens, kExperts), one = data_of(1, kExperts);
  const auto tensor = [&](const CaseData& data, const char* wanted) {
    return static_cast<size_t>(data.problem().tensor_index(wanted));
  };
  const auto rows = [&](const CaseData& data, const std::vector<HostTensor>& inputs) {
    DeviceRun run =
        DeviceRun::create(library_, op, data.problem(), {.deterministic = true}).value();
    run.reset(inputs, 0xa5).value();
    run.launch().value();
    return std::move(run.download().value()[tensor(data, "y")]);
  };
  const HostTensor together = rows(many, many.inputs());
  const HostTensor &slots = many.inputs()[tensor(many, "slots")],
                   &experts = many.inputs()[tensor(many, "tile_expert")];
  for (int64_t pair = 0; pair < kTokens * kPerToken; ++pair) {
    int64_t slot = 0;
    while (slot < slots.numel() && slots.flat(slot) != static_cast<double>(pair)) ++slot;
    ASSERT_LT(slot, slots.numel());
    std::vector<HostTensor> inputs = many.inputs();
    for (const char* made : {"slots", "tile_expert", "tile_count", "y"})
      inputs[tensor(one, made)] = one.inputs()[tensor(one, made)];
    for (const char* sliced : {"x", "x_scale"}) {
      if (!one.problem().has(sliced)) continue;
      HostTensor own = one.inputs()[tensor(one, sliced)];
      const size_t bytes = own.bytes().size() / kPerToken;
      std::memcpy(own.bytes().data(),
                  inputs[tensor(one, sliced)].bytes().data() + static_cast<size_t>(pair) * bytes,
                  bytes);
      inputs[tensor(one, sliced)] = std::move(own);
    }
    for (int64_t s = 0; s < inputs[tensor(one, "slots")].numel(); ++s)
      inputs[tensor(one, "slots")].set_flat(s, s == pair % kBlock ? 0 : -1);
    inputs[tensor(one, "tile_expert")].set_flat(0, experts.flat(slot / kBlock));
    inputs[tensor(one, "tile_count")].set_flat(0, 1);
    const HostTensor alone = rows(one, inputs);
    const size_t bytes = alone.bytes().size() / kPerToken;
    EXPECT_EQ(std::memcmp(alone.bytes().data(),
                          together.bytes().data() + static_cast<size_t>(pair) * bytes, bytes),
              0)
        << name << ", pair " << pair;
  }
}

INSTANTIATE_TEST_SUITE_P(Products, ExpertRows,
                         ::testing::Values("moe_gemm_bf16", "moe_gemm_fp4", "moe_gemm_fp8"));

}  // namespace
}  // namespace tessera::ops
