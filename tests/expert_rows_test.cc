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

INSTANTIATE_TEST_SUITE_P(Products, ExpertRows,
                         ::testing::Values("moe_gemm_bf16", "moe_gemm_fp4", "moe_gemm_fp8"));

}  // namespace
}  // namespace tessera::ops
