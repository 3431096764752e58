// SPDX-License-Identifier: Apache-2.0
// What must hold of any model: bits do not depend on chunks, threads, neighbours or what a sequence
// held before; the reference model agrees; wrong use is named.
#include "tessera/base/testing/temporary_folder.h"
#include "tests/model/model_fixture.h"
#include "tests/reference_model/model.h"
#include "tests/reference_model/random_checkpoint.h"

namespace tessera::model_test {
namespace {

/// Every kind of layer, sizes off the usual ones, gates beyond the clamp.
const std::filesystem::path& random_checkpoint() {
  static const TemporaryFolder folder;
  static const bool written =
      reference_model::write_random_checkpoint(reference_model::small_config(), folder.path(), 7)
          .ok();
  EXPECT_TRUE(written);
  return folder.path();
}

std::vector<int32_t> text(int64_t length, int32_t seed) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < length; ++i)
    tokens.push_back(static_cast<int32_t>((i * i * 31 + i * 7 + seed * 97) % 251));
  return tokens;
}

constexpr ModelOptions kOptions{.precision = Precision::native,
                                .context = 1024,
                                .sequences = 3,
                                .largest_step = 150,
                                .deterministic = true,
                                .mtp = true};

std::unique_ptr<Model> open(ModelOptions options = kOptions, Machine& machine = Machine::shared()) {
  return machine.load(random_checkpoint(), options);
}

TEST(ModelBits, DoNotDependOnChunks) {
  const auto model = open();
  const std::vector<int32_t> tokens = text(150, 1);
  const Rows whole = prefill(*model, tokens, 150, true);
  for (const int64_t chunk : {1, 7, 64, 149})
    EXPECT_EQ(prefill(*model, tokens, chunk, true).values, whole.values) << "chunks of " << chunk;
}

TEST(ModelBits, DoNotDependOnThreads) {
  Machine alone(1), pair(2);
  for (const bool deterministic : {false, true}) {
    ModelOptions options = kOptions;
    options.deterministic = deterministic;
    const auto one = open(options, alone), two = open(options, pair);
    const std::vector<int32_t> tokens = text(70, 2);
    EXPECT_EQ(prefill(*one, tokens, 64, true).values, prefill(*two, tokens, 64, true).values);
    EXPECT_EQ(step(*one, 70, std::span(tokens).first(1)).values,
              step(*two, 70, std::span(tokens).first(1)).values);
  }
}

TEST(ModelBits, SequencesDoNotMeet) {
  const auto model = open();
  const std::vector<int32_t> a = text(139, 3), b = text(3, 4), c = text(130, 5);
  const auto alone = [&](const std::vector<int32_t>& tokens, int32_t sequence) {
    prefill(*model, std::span(tokens).first(tokens.size() - 1), 150, false, sequence);
    return step(*model, std::ssize(tokens) - 1, std::span(tokens).last(1), false, sequence).values;
  };
  const auto of_b = alone(b, 1);
  const auto of_a = alone(a, 0), of_c = alone(c, 2);
  // A short text where a long one was: nothing of it is left.
  EXPECT_EQ(alone(b, 0), of_b);
  EXPECT_EQ(alone(a, 1), of_a);
  // All three at once, at different positions, in one prompt step and in one decode step.
  EXPECT_EQ(alone(c, 0), of_c);
  const auto head = [](const std::vector<int32_t>& tokens, size_t first, size_t count) {
    return std::span(tokens).subspan(first, count);
  };
  alone(a, 2);
  const std::vector<Span> prompts = {
      {2, 138, head(a, 138, 1)}, {0, 0, head(b, 0, 2)}, {1, 0, head(c, 0, 129)}};
  ASSERT_TRUE(model->step(prompts).ok());
  const std::vector<Span> last = {
      {0, 2, head(b, 2, 1)}, {1, 129, head(c, 129, 1)}, {2, 138, head(a, 138, 1)}};
  const auto logits = model->step(last);
  ASSERT_TRUE(logits.ok()) << logits.error().to_string();
  const Rows rows = rows_of(*logits, model->config().vocab_size);
  EXPECT_EQ(reference_model::slice(rows, 0, 1).values, of_b);
  EXPECT_EQ(reference_model::slice(rows, 1, 2).values, of_c);
  EXPECT_EQ(reference_model::slice(rows, 2, 3).values, of_a);
}

TEST(ModelBits, RejectedDraftsLeaveNoTrace) {
  const auto model = open();
  const std::vector<int32_t> tokens = text(150, 6), wrong = text(16, 7);
  for (const int64_t kept : {5, 127, 128, 133}) {
    prefill(*model, std::span(tokens).first(static_cast<size_t>(kept)), 150, false, 0);
    step(*model, kept, wrong, true, 0);
    const auto rest = std::span(tokens).subspan(static_cast<size_t>(kept), 9);
    const Rows after = step(*model, kept, rest, true, 0);
    prefill(*model, std::span(tokens).first(static_cast<size_t>(kept)), 150, false, 1);
    EXPECT_EQ(after.values, step(*model, kept, rest, true, 1).values) << kept;
  }
}

TEST(ModelBits, BucketsAgree) {
  ModelOptions options = kOptions;
  options.context = 4096;
  options.sequences = 2;
  const auto model = open(options);
  const std::vector<int32_t> tokens = text(40, 8), long_text = text(1100, 9);
  const Rows near = prefill(*model, tokens, 150, false, 0);
  prefill(*model, long_text, 150, false, 1);
  // One step with a sequence in a larger bucket.
  const std::vector<Span> both = {{0, 39, std::span(tokens).last(1)},
                                  {1, 1100, std::span(tokens).first(1)}};
  const auto logits = model->step(both);
  ASSERT_TRUE(logits.ok()) << logits.error().to_string();
  EXPECT_EQ(reference_model::slice(rows_of(*logits, model->config().vocab_size), 0, 1).values,
            near.values);
}

TEST(ModelNumbers, AgreeWithTheReferenceModel) {
  const auto reference =
      reference_model::Model::open(random_checkpoint(), reference_model::Mode::exact);
  ASSERT_TRUE(reference.ok()) << reference.error().to_string();
  ModelOptions options = kOptions;
  options.precision = Precision::fp32;
  options.deterministic = false;
  const auto model = open(options);
  const std::vector<int32_t> tokens = text(140, 10);
  auto sequence = reference->new_sequence();
  const std::vector<int64_t> ids(tokens.begin(), tokens.end());
  const Rows h = reference->forward(ids, sequence);
  EXPECT_LE(
      reference_model::max_difference(prefill(*model, tokens, 150, true), reference->logits(h)),
      5e-4);
  // The draft block over the same rows.
  const Span span{0, 0, tokens, true};
  const auto drafted = model->draft(std::span(&span, 1));
  ASSERT_TRUE(drafted.ok()) << drafted.error().to_string();
  const Rows expected = reference->mtp_logits(reference->mtp(h, ids, sequence));
  EXPECT_LE(
      reference_model::max_difference(rows_of(*drafted, model->config().vocab_size), expected),
      5e-4);
}

TEST(ModelNumbers, PlanIsWhatIsTaken) {
  auto device = runtime::open_device("cpu").value();
  kernels::KernelLibrary library(
      *device, {.provider = std::make_shared<compiler::Jit>(compiler::all_targets())});
  const auto config = model::deepseek_v4::load_config(random_checkpoint()).value();
  const auto plan = Model::plan(config, device->info().capabilities, kOptions).value();
  auto checkpoint = checkpoint::Checkpoint::open(random_checkpoint()).value();
  const auto model =
      Model::load(std::make_shared<const checkpoint::Checkpoint>(std::move(checkpoint)), config,
                  library, kOptions)
          .value();
  const auto tokens = text(150, 11);
  prefill(*model, tokens, 150, false);
  step(*model, 150, std::span(tokens).first(1));
  // Half of `logits` lies on the host; tables of experts' offsets are not in the plan.
  const auto taken = static_cast<double>(device->memory_in_use());
  EXPECT_NEAR(taken / static_cast<double>(plan.total() - plan.logits / 2), 1, 0.01);
}

class WrongUse : public testing::Test {
 protected:
  std::string message(std::vector<Span> spans) {
    auto logits = model_->step(spans);
    return logits.ok() ? "" : logits.error().message;
  }
  std::unique_ptr<Model> model_ = open();
  const std::vector<int32_t> tokens_ = text(200, 12);
  std::span<const int32_t> first(size_t count) const { return std::span(tokens_).first(count); }
};

TEST_F(WrongUse, IsNamedWithTheNumbers) {
  EXPECT_EQ(message({}), "a step without spans");
  EXPECT_EQ(message({{0, 0, {}}}), "no token for sequence 0");
  EXPECT_EQ(message({{3, 0, first(1)}}), "sequence 3: the model was loaded for 3");
  EXPECT_EQ(message({{1, 0, first(1)}, {1, 1, first(1)}}), "sequence 1 twice in a step");
  EXPECT_EQ(message({{0, 0, first(151)}}),
            "a step of 151 tokens: the model was loaded for 150 a step");
  const std::vector<int32_t> outside = {5, 256};
  EXPECT_EQ(message({{0, 0, outside}}), "token 256 of a vocabulary of 256");
  EXPECT_EQ(message({{0, 5, first(1)}}), "sequence 0 holds 0 positions: it cannot go on at 5");
  ASSERT_EQ(message({{0, 0, first(150)}}), "");
  EXPECT_EQ(model_->length(0), 150);
  EXPECT_EQ(message({{0, 100, first(1)}}),
            "sequence 0 was written up to position 149: it can go back to 134 or to 0, not to 100");
  ASSERT_TRUE(model_->pretend(1020).ok());
  EXPECT_EQ(message({{0, 1020, first(5)}}), "positions 1020 to 1024 in a context of 1024");
  EXPECT_EQ(model_->pretend(1025).error().message, "1025 positions held in a context of 1024");
}

TEST_F(WrongUse, OfDraftsAndLayers) {
  ASSERT_EQ(message({{0, 0, first(4)}}), "");
  const Span beyond{0, 3, first(2)};
  EXPECT_EQ(model_->draft(std::span(&beyond, 1)).error().message,
            "a draft for positions 3 to 4 of sequence 0, which the last step did not compute");
  const Span span{0, 0, first(2)};
  const std::vector<std::byte> stream(2 * 4 * 256 * 2 - 1);
  EXPECT_EQ(model_->run_layers(1, 1, std::span(&span, 1), stream).error().message,
            "layers 1 to 1 of 6");
  EXPECT_EQ(model_->run_layers(0, 1, std::span(&span, 1), stream).error().message,
            "a residual stream of 4095 bytes for 2 rows of 2048");
  ModelOptions options = kOptions;
  options.mtp = false;
  EXPECT_EQ(open(options)->draft(std::span(&span, 1)).error().message,
            "the model was loaded without its draft block");
}

TEST(WrongOptions, AreNamed) {
  const auto message = [](ModelOptions options) {
    auto config = model::deepseek_v4::load_config(random_checkpoint()).value();
    auto plan =
        Model::plan(config, Machine::shared().library().device().info().capabilities, options);
    return plan.ok() ? "" : plan.error().message;
  };
  EXPECT_EQ(message({.context = 0}), "context is 0, at least 1");
  EXPECT_EQ(message({.sequences = -1}), "sequences is -1, at least 1");
  EXPECT_EQ(message({.context = 2'000'000}),
            "a context of 2000000 positions: the model goes to 1048576");
  EXPECT_EQ(message({.quantised_cache = true}),
            "a quantised cache for heads of 192: a power of two from 128 on is needed");
  EXPECT_EQ(message({.precision = Precision::fp32, .quantised_cache = true}),
            "a quantised cache holds keys rounded to e4m3: native and fp8 only");
}

}  // namespace
}  // namespace tessera::model_test
