// SPDX-License-Identifier: Apache-2.0
// 131,072 tokens of one sequence: what the numbers at its end must hold, and the memory they took.
#include <cmath>

#include "tessera/base/resident_memory.h"
#include "tessera/model/deepseek_v4/memory_plan.h"
#include "tests/model/model_fixture.h"

namespace tessera::model_test {
namespace {

constexpr int64_t kContext = 131072, kChunk = 512, kLast = 16;

std::vector<int32_t> text(int64_t length, int32_t vocabulary) {
  std::vector<int32_t> tokens;
  uint64_t state = 12345;
  for (int64_t i = 0; i < length; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    tokens.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocabulary)));
  }
  return tokens;
}

/// Every row of two results, bit for bit.
void expect_equal_rows(const Rows& a, const Rows& b, const char* what) {
  ASSERT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.values, b.values) << what;
}

TEST(LongContext, Of131072Tokens) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const auto folder = reference_folder() / "goldens/flash-nano";
  Machine& machine = Machine::shared();
  const ModelOptions options{.precision = Precision::native,
                             .context = kContext + kChunk,
                             .largest_step = kChunk,
                             .deterministic = true};
  const auto config = model::deepseek_v4::load_config(folder).value();
  const auto plan = Model::plan(config, machine.library(), options).value();
  const auto weights =
      model::deepseek_v4::plan_weights(model::deepseek_v4::expand_weights(config, 0), config, 1, {});
  const double planned = static_cast<double>(plan.total()) + static_cast<double>(weights.mapped);
  const std::vector<int32_t> tokens = text(kContext, static_cast<int32_t>(config.vocab_size));
  {  // Kernels are compiled by another model: memory of the compiler does not count.
    const auto first = machine.load(folder, options);
    prefill(*first, std::span(tokens).first(kChunk), kChunk, false);
    first->pretend_length(kContext - kChunk);
    step(*first, kContext - kChunk, std::span(tokens).last(kChunk), true);
    step(*first, kContext, std::span(tokens).last(1));
  }

  const int64_t before = resident_bytes();
  const auto model = machine.load(folder, options);
  ASSERT_NE(model, nullptr);
  prefill(*model, std::span(tokens).first(kContext - kChunk), kChunk, false);
  const Rows chunk = step(*model, kContext - kChunk, std::span(tokens).last(kChunk), true);
  EXPECT_EQ(model->length(0), kContext);
  EXPECT_LE(static_cast<double>(resident_bytes() - before), 1.05 * planned);
  for (const float value : chunk.values) ASSERT_TRUE(std::isfinite(value));

  // The last tokens once more, as decode steps: other kernels with other splits over the same
  // 32,768 entries give the same bits.
  Rows single;
  for (int64_t i = kContext - kLast; i < kContext; ++i)
    single.append(step(*model, i, std::span(tokens).subspan(static_cast<size_t>(i), 1)));
  expect_equal_rows(single, last_rows(chunk, kLast), "decode steps and a chunk");
}

/// One other token at the beginning is seen 16,384 positions later, far outside of any window.
TEST(LongContext, FindsANeedle) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  constexpr int64_t kLength = 16384;
  const auto model =
      Machine::shared().load(reference_folder() / "goldens/flash-nano",
                             {.precision = Precision::native, .context = kLength, .largest_step = kChunk});
  ASSERT_NE(model, nullptr);
  const auto vocabulary = static_cast<int32_t>(model->config().vocab_size);
  std::vector<int32_t> tokens = text(kLength, vocabulary);
  const Rows plain = prefill(*model, tokens, kChunk, false);
  EXPECT_EQ(prefill(*model, tokens, kChunk, false).values, plain.values);
  tokens[100] = (tokens[100] + 1) % vocabulary;
  EXPECT_NE(prefill(*model, tokens, kChunk, false).values, plain.values);
}

}  // namespace
}  // namespace tessera::model_test
