// SPDX-License-Identifier: Apache-2.0
// native against the official code. As a whole the model is chaotic, one flipped rounding picks
// another expert; so layers are compared one at a time, each fed the official residual stream.
#include "tessera/base/float_formats.h"
#include "tests/model/model_fixture.h"

namespace tessera::model_test {
namespace {

constexpr int kTracedSteps = 6;  // decode steps whose residual stream is recorded

class NativeGolden : public GoldenTest {
 protected:
  void open_model(int length, ModelOptions options) {
    open(length);
    options.context = 512;
    model_ = Machine::shared().load(folder_, options);
    ASSERT_NE(model_, nullptr);
  }
  /// The official residual stream before a layer, a row a token.
  Rows stream(const std::string& when, size_t layer) const {
    Rows h = layers_.rows(name(fmt::format("native.{}.h.{}", when, layer)));
    h.cols *= 4;
    h.rows /= 4;
    return h;
  }
  /// One layer over a stream in bf16.
  Rows layer(size_t index, int64_t position, std::span<const int32_t> tokens, const Rows& h) {
    std::vector<uint16_t> codes;
    for (const double value : h.values) codes.push_back(encode_bf16(value));
    const Span span{0, position, tokens};
    const auto bytes =
        model_->run_layers(index, index + 1, std::span(&span, 1), std::as_bytes(std::span(codes)));
    EXPECT_TRUE(bytes.ok()) << bytes.error().to_string();
    Rows out(h.rows, h.cols);
    if (!bytes.ok()) return out;
    std::memcpy(codes.data(), bytes->data(), bytes->size());
    std::transform(codes.begin(), codes.end(), out.values.begin(), decode_bf16);
    return out;
  }

  std::unique_ptr<Model> model_;
};

/// Row errors of every layer over a prompt and the first decode steps.
class NativeLayers : public NativeGolden {
 protected:
  std::vector<double> errors_of(size_t index) {
    std::vector<double> errors = reference_model::row_errors(
        layer(index, 0, ids_, stream("prefill", index)), stream("prefill", index + 1));
    for (int j = 0; j < kTracedSteps; ++j) {
      const std::string when = fmt::format("step{}", j);
      const Rows h = layer(index, std::ssize(ids_) + j,
                           std::span(&greedy_[static_cast<size_t>(j)], 1), stream(when, index));
      errors.push_back(reference_model::row_errors(h, stream(when, index + 1))[0]);
    }
    return errors;
  }
};

// Pooled: one flipped code of a key moves every row that attends to it, so a layer's own median
// says little.
TEST_F(NativeLayers, RowErrors) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  std::vector<double> all;
  for (const int length : {3, 33, 130}) {
    ASSERT_NO_FATAL_FAILURE(open_model(length, {.largest_step = 130}));
    for (size_t i = 0; i < model_->config().layers.size(); ++i) {
      const std::vector<double> errors = errors_of(i);
      all.insert(all.end(), errors.begin(), errors.end());
    }
  }
  const double median = reference_model::quantile(all, 0.5),
               most = reference_model::quantile(all, 0.9);
  fmt::print("row errors: median {:.1e}, 90th percentile {:.1e}\n", median, most);
  EXPECT_LE(median, 2e-3);
  EXPECT_LE(most, 1.3e-2);
}

class NativeModel : public NativeGolden {
 protected:
  double cosine_with(std::span<const float> logits, const std::string& vector) const {
    return reference_model::cosine(rows_of(logits, std::ssize(logits))[0],
                                   golden_.rows(name(vector))[0]);
  }
};

TEST_F(NativeModel, LogitsDraftAndForcedDecoding) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  double sum = 0;
  int equal = 0, steps = 0;
  for (const int length : kPrompts) {
    ASSERT_NO_FATAL_FAILURE(open_model(length, {.largest_step = 300, .mtp = true}));
    // What is left of a right engine after the flips of a longer prompt.
    const double least = length <= 3 ? 0.995 : 0.9;
    const Span prompt{0, 0, ids_};
    const auto logits = model_->step(std::span(&prompt, 1));
    ASSERT_TRUE(logits.ok()) << logits.error().to_string();
    EXPECT_GE(cosine_with(*logits, "native.last_logits"), least) << length;

    std::vector<int32_t> next_ids(ids_.begin() + 1, ids_.end());
    next_ids.push_back(greedy_[0]);
    const Span next{0, 0, next_ids};
    const auto draft = model_->draft(std::span(&next, 1));
    ASSERT_TRUE(draft.ok()) << draft.error().to_string();
    EXPECT_GE(cosine_with(*draft, "native.mtp_last_logits"), least) << length;

    const Rows forced = golden_.rows(name("native.forced_logits"));
    for (size_t i = 0; i < greedy_.size(); ++i, ++steps) {
      const auto want = forced[static_cast<int64_t>(i)];
      const Rows got = step(*model_, length + static_cast<int64_t>(i), std::span(&greedy_[i], 1));
      sum += reference_model::cosine(got[0], want);
      equal += reference_model::argmax(got[0]) == reference_model::argmax(want);
    }
  }
  fmt::print("forced decoding: mean cosine {:.4f}, equal argmax {} of {}\n", sum / steps, equal,
             steps);
  EXPECT_GE(sum / steps, 0.975);
  EXPECT_GE(equal, 0.70 * steps);
}

class Bf16Model : public NativeGolden {};

TEST_F(Bf16Model, StaysNearFp32) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  double sum = 0;
  int64_t count = 0;
  for (const int length : kPrompts) {
    ASSERT_NO_FATAL_FAILURE(
        open_model(length, {.precision = Precision::bf16, .largest_step = 300}));
    const Rows expected = golden_.rows(name("fp32.logits"));
    const Rows logits = last_rows(prefill(*model_, ids_, 300, true), expected.rows);
    for (int64_t t = 0; t < expected.rows; ++t, ++count)
      sum += reference_model::cosine(logits[t], expected[t]);
  }
  fmt::print("bf16 against fp32: mean cosine {:.4f}\n", sum / static_cast<double>(count));
  EXPECT_GE(sum / static_cast<double>(count), 0.99);
}

// Codes hold what the bf16 rows hold.
TEST_F(NativeModel, TheQuantisedCacheGivesTheSameBits) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  std::vector<double> logits[2];
  for (const bool quantised : {false, true}) {
    ASSERT_NO_FATAL_FAILURE(open_model(130, {.largest_step = 130, .quantised_cache = quantised}));
    std::vector<double>& all = logits[quantised];
    all = prefill(*model_, ids_, 130, true).values;
    for (int i = 0; i < 3; ++i) {
      const Rows next = step(*model_, 130 + i, std::span(&greedy_[static_cast<size_t>(i)], 1));
      all.insert(all.end(), next.values.begin(), next.values.end());
    }
  }
  EXPECT_EQ(logits[0], logits[1]);
}

// Experts re-scaled without loss give the products of native.
TEST_F(NativeModel, Fp8ExpertsAreTheSameNumbers) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  for (const int length : {1, 3}) {
    ASSERT_NO_FATAL_FAILURE(open_model(length, {.precision = Precision::fp8, .largest_step = 300}));
    const Span prompt{0, 0, ids_};
    const auto logits = model_->step(std::span(&prompt, 1));
    ASSERT_TRUE(logits.ok()) << logits.error().to_string();
    EXPECT_GE(cosine_with(*logits, "native.last_logits"), 0.995) << length;
  }
}

}  // namespace
}  // namespace tessera::model_test
