// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/memory_fit.h"

#include <gtest/gtest.h>

namespace tessera::model::deepseek_v4 {
namespace {

constexpr uint64_t kGib = uint64_t{1} << 30;

MemoryPlan plan() {
  return {.mapped = 10 * kGib,
          .copied = 0,
          .read_per_token = 2 * kGib,
          .working = {{"caches", 3 * kGib}, {"activations", kGib / 2}}};
}

TEST(MemoryFitTest, WhatFitsIsTaken) {
  EXPECT_TRUE(check_fit(plan(), {.memory = 14 * kGib}).ok());
  EXPECT_TRUE(check_fit(plan(), {.memory = 4 * kGib, .may_stream = true}).ok());
}

TEST(MemoryFitTest, WhatDoesNotFitIsRefusedWithNumbers) {
  const auto small = check_fit(
      plan(), {.memory = 3 * kGib, .context = 4096, .largest_context = 1024, .may_stream = true});
  EXPECT_EQ(small.error().code, ErrorCode::out_of_memory);
  EXPECT_EQ(small.error().message,
            "a context of 4096 needs 3.50 GiB besides the mapped weights (caches 3.00 GiB, "
            "activations 0.50 GiB), and 3.00 GiB are free; --context 1024 fits");
  MemoryPlan copied = plan();
  copied.copied = kGib;
  EXPECT_EQ(check_fit(copied, {.memory = kGib, .context = 128}).error().message,
            "a context of 128 needs 4.50 GiB besides the mapped weights (weights made anew 1.00 "
            "GiB, caches 3.00 GiB, activations 0.50 GiB), and 1.00 GiB are free; no context fits "
            "beside the weights");
  EXPECT_EQ(check_fit(plan(), {.memory = 8 * kGib}).error().message,
            "10.00 GiB of weights and 3.50 GiB of working memory do not fit into the 8.00 GiB that "
            "are free; --stream-weights runs it all the same and reads 2.00 GiB a token, most of "
            "it from the disk: about 1.1 s a token at 2 GB/s");
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
