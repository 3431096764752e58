// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/attention/sparse_attention.h"

#include <gtest/gtest.h>

#include "tessera/ops/frame/prepared.h"

namespace tessera::ops {
namespace {

/// The plan on a chip with instructions for tiles.
Plan plan_of(int64_t tokens, int64_t keys, int64_t rows, bool quantised) {
  const Operator op = make_operator<SparseAttention>();
  const int64_t D = 512;
  std::map<std::string, int64_t> dims = {
      {"T", tokens}, {"H", 64}, {"D", D}, {"R", rows}, {"N", keys}};
  std::map<std::string, DType> dtypes = {{"q", DType::bf16}, {"out", DType::bf16}};
  if (quantised) {
    dims["B"] = QuantisedRow{D}.bytes();
    dtypes["kv_quantised"] = DType::u8;
  } else {
    dtypes["kv"] = DType::bf16;
  }
  runtime::Capabilities capabilities;
  capabilities.matrix_tile[2] = {64, 64, 128};
  capabilities.matrix_tile[3] = {128, 256, 64};
  return make_plan(op, Problem::from_dims(*op.signature, dims, dtypes, {}).value(), capabilities);
}

std::string kernels_of(const Plan& plan) {
  std::string names;
  for (const KernelCall& call : plan.calls)
    names += (names.empty() ? "" : " ") + call.name.substr(call.name.find('.') + 1);
  return names;
}

TEST(SparseAttention, FewTokensSplitColumnsOrKeys) {
  EXPECT_EQ(kernels_of(plan_of(1, 64, 1000, false)), "attend");
  EXPECT_EQ(kernels_of(plan_of(1, 640, 1000, false)), "score weigh");
  EXPECT_EQ(kernels_of(plan_of(8, 640, 1000, false)), "score weigh");
  EXPECT_EQ(kernels_of(plan_of(1, 640, 1000, true)), "score_quantised weigh_quantised");
  EXPECT_EQ(kernels_of(plan_of(8, 640, 1000, true)), "score_quantised part_quantised join");
  EXPECT_EQ(kernels_of(plan_of(1, 8320, 10000, false)), "score part join");
  EXPECT_EQ(kernels_of(plan_of(64, 640, 1000, true)), "attend_quantised");
}

TEST(SparseAttention, DecodedRowsAreBounded) {
  const Plan few = plan_of(100, 640, 1000, true);
  EXPECT_EQ(kernels_of(few), "rows attend");
  EXPECT_EQ(few.workspace_bytes, 1000 * 512 * 2);
  const Plan many = plan_of(4096, 640, 1 << 20, true);
  EXPECT_EQ(kernels_of(many), "attend_quantised");
  EXPECT_EQ(many.workspace_bytes, 0);
}

}  // namespace
}  // namespace tessera::ops
