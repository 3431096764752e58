// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace tessera::engine {
namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, -2.0f, 3.0f, 2.0f, 0.5f};

/// How often each token is drawn.
std::map<TokenId, int> draws(SamplingOptions options, std::span<const float> logits, int count) {
  std::map<TokenId, int> drawn;
  options.seed = 11;
  Sampler sampler(options, {});
  for (int i = 0; i < count; ++i) ++drawn[sampler.next(logits).value()];
  return drawn;
}

TEST(SamplerTest, TemperatureZeroTakesTheLikeliestAndTheLowerOfEquals) {
  Sampler sampler({}, {});
  EXPECT_EQ(sampler.next(kLogits).value(), 1);
  EXPECT_EQ(draws({.top_p = 0.1, .top_k = 3}, kLogits, 20), (std::map<TokenId, int>{{1, 20}}));
}

TEST(SamplerTest, DrawsFollowTheDistribution) {
  constexpr int kCount = 20000;
  for (const double temperature : {0.5, 1.0, 2.0}) {
    double total = 0;
    for (const float logit : kLogits) total += std::exp(logit / temperature);
    auto drawn = draws({.temperature = temperature}, kLogits, kCount);
    for (size_t i = 0; i < kLogits.size(); ++i) {
      const double p = std::exp(kLogits[i] / temperature) / total;
      const double deviation = std::sqrt(kCount * p * (1 - p));
      EXPECT_NEAR(drawn[static_cast<TokenId>(i)], kCount * p, 5 * deviation + 1) << i;
    }
  }
}

TEST(SamplerTest, TheSameSeedGivesTheSameTokens) {
  const auto sequence = [](uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed}, {});
    std::vector<TokenId> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sampler.next(kLogits).value());
    return ids;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  EXPECT_NE(sequence(1), sequence(2));
}

TEST(SamplerTest, DrawsAreThoseOfTheOperator) {
  // By an independent program: the largest exp(logit - 3) / E, E from Philox 4x32-10 with counter v
  // and key 42 xor (step << 32).
  const std::vector<TokenId> expected = {4, 3, 3, 3, 4, 1, 3, 1, 4, 4, 1, 1, 4, 3, 4, 5};
  Sampler sampler({.temperature = 1, .seed = 42}, {});
  for (const TokenId id : expected) EXPECT_EQ(sampler.next(kLogits).value(), id);
}

TEST(SamplerTest, FiltersLeaveWhatTheySay) {
  const auto kept = [](SamplingOptions options) {
    options.temperature = 1;
    std::vector<TokenId> ids;
    for (const auto& [id, count] : draws(options, kLogits, 3000)) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(kept({.top_k = 1}), (std::vector<TokenId>{1}));
  EXPECT_EQ(kept({.top_k = 3}), (std::vector<TokenId>{1, 3, 4}));
  // Probabilities: 0.385, 0.385, 0.142, 0.052, 0.032, 0.003
  EXPECT_EQ(kept({.top_p = 0.38}), (std::vector<TokenId>{1}));
  EXPECT_EQ(kept({.top_p = 0.5}), (std::vector<TokenId>{1, 3}));
  EXPECT_EQ(kept({.top_p = 0.8}), (std::vector<TokenId>{1, 3, 4}));
  EXPECT_EQ(kept({.min_p = 0.3}), (std::vector<TokenId>{1, 3, 4}));
  EXPECT_EQ(kept({.min_p = 1}), (std::vector<TokenId>{1, 3}));
  EXPECT_EQ(kept({.top_p = 0.9, .top_k = 2}), (std::vector<TokenId>{1, 3}));
  EXPECT_EQ(kept({}).size(), 6u);
}

TEST(SamplerTest, TopPOfManyTokensLooksBeyondTheFirstBlock) {
  const std::vector<float> logits(1000, 0.0f);
  const auto drawn = draws({.temperature = 1, .top_p = 0.7}, logits, 20000);
  EXPECT_EQ(drawn.rbegin()->first, 699);
  EXPECT_GT(drawn.size(), 690u);
}

TEST(SamplerTest, PenaltiesCountWhatWasGenerated) {
  const std::vector<float> logits = {2.0f, 1.9f, 1.8f};
  const auto first = [&](SamplingOptions options, std::vector<TokenId> prompt, int count) {
    Sampler sampler(options, prompt);
    std::vector<TokenId> ids;
    for (int i = 0; i < count; ++i) ids.push_back(sampler.next(logits).value());
    return ids;
  };
  EXPECT_EQ(first({.presence_penalty = 1}, {0}, 3), (std::vector<TokenId>{0, 1, 2}));
  EXPECT_EQ(first({.frequency_penalty = 0.15}, {}, 4), (std::vector<TokenId>{0, 1, 0, 2}));
  EXPECT_EQ(first({.repetition_penalty = 2}, {0}, 2), (std::vector<TokenId>{1, 2}));
  const std::vector<float> negative = {-1.0f, -1.5f};
  Sampler sampler({.repetition_penalty = 2}, std::vector<TokenId>{0});
  EXPECT_EQ(sampler.next(negative).value(), 1);
}

TEST(SamplerTest, HugeLogitsAndInfinitiesAreFine) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> logits = {-infinity, 3e38f, -3e38f, 1.0f};
  EXPECT_EQ(draws({.temperature = 0.1}, logits, 10), (std::map<TokenId, int>{{1, 10}}));
}

TEST(SamplerTest, WrongOptionsAndLogitsAreNamed) {
  const auto text = [](const SamplingOptions& options) { return options.check().error().message; };
  EXPECT_EQ(text({.temperature = -1}),
            "temperature is -1, expected 0 (the likeliest token) to 100");
  EXPECT_EQ(text({.temperature = std::nan("")}),
            "temperature is nan, expected 0 (the likeliest token) to 100");
  EXPECT_EQ(text({.top_p = 1.5}), "top-p is 1.5, expected above 0 and up to 1");
  EXPECT_EQ(text({.top_k = -1}), "top-k is -1, expected 0 (all) or more");
  EXPECT_EQ(text({.min_p = 2}), "min-p is 2, expected 0 to 1");
  EXPECT_EQ(text({.repetition_penalty = 0}),
            "repetition penalty is 0, expected above 0, with 1 for none");
  EXPECT_EQ(text({.frequency_penalty = 101}), "frequency penalty is 101, expected -100 to 100");
  EXPECT_EQ(text({.presence_penalty = 101}), "presence penalty is 101, expected -100 to 100");
  EXPECT_TRUE(SamplingOptions{}.check().ok());
  Sampler sampler({}, {});
  const std::vector<float> logits = {0.0f, std::nanf("")};
  EXPECT_EQ(sampler.next(logits).error().message,
            "the logit of token 1 is no number (NaN); check the checkpoint with `tessera inspect "
            "DIR --check`");
}

}  // namespace
}  // namespace tessera::engine
