// SPDX-License-Identifier: Apache-2.0
// compressor_pool and compressor_state_write together: a prompt gives the same entries whole, in
// chunks and token by token, and a sequence inherits nothing from the one before it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "tessera/kernels/testing/sample_kernels.h"
#include "tessera/ops/compressor/compressor_pool.h"
#include "tessera/ops/compressor/compressor_state_write.h"
#include "tessera/ops/frame/testing/operator_runner.h"

namespace tessera::ops {
namespace {

using Entries = std::map<int64_t, std::vector<float>>;

/// One compressor with the state of one sequence, on the null chip.
class Compressor {
 public:
  Compressor(int64_t ratio, bool overlap, int64_t slots)
      : ratio_(ratio), overlap_(overlap), slots_(slots), width_(overlap ? 2 * kDims : kDims) {
    const auto state = static_cast<size_t>(slots * width_);
    state_kv_ = runner_.upload(std::vector<float>(state, NAN));
    state_score_ = runner_.upload(std::vector<float>(state, NAN));
    ape_ = runner_.upload(values(ratio * width_, 7));
  }

  /// Runs positions [first, first + rows) of the prompt that `seed` stands for.
  void step(int64_t seed, int64_t first, int64_t rows, Entries& out) {
    std::vector<int32_t> index, positions, state_slots;
    for (int64_t i = first / ratio_; (i + 1) * ratio_ <= first + rows; ++i)
      index.push_back(static_cast<int32_t>(i));
    index.push_back(-1);  // a step has room for more than it completes
    for (int64_t q = first; q < first + rows; ++q) {
      positions.push_back(static_cast<int32_t>(q));
      state_slots.push_back(q + slots_ < first + rows ? -1 : static_cast<int32_t>(q % slots_));
    }
    const auto kv = runner_.upload(part(seed, first, rows)),
               score = runner_.upload(part(seed + 1, first, rows));
    const std::vector<int32_t> zero(index.size(), 0),
        start(index.size(), static_cast<int32_t>(first));
    const auto y = runner_.upload(std::vector<float>(index.size() * kDims, 0));
    runner_.run<CompressorPool>(
        {{"T", rows},
         {"W", width_},
         {"G", ratio_},
         {"S", 1},
         {"slots", slots_},
         {"E", std::ssize(index)},
         {"D", kDims}},
        {{"y", DType::f32}}, {{"ratio", static_cast<double>(ratio_)}, {"overlap", overlap_}},
        {kv, score, ape_, state_kv_, state_score_, runner_.upload(zero), runner_.upload(index),
         runner_.upload(zero), runner_.upload(start), y});
    runner_.run<CompressorStateWrite>({{"T", rows}, {"W", width_}, {"G", ratio_}, {"R", slots_}},
                                      {}, {},
                                      {kv, score, ape_, runner_.upload(positions),
                                       runner_.upload(state_slots), state_kv_, state_score_});
    const std::vector<float> all = runner_.download<float>(y);
    for (size_t e = 0; index[e] >= 0; ++e)
      out[index[e]].assign(&all[e * kDims], &all[e * kDims] + kDims);
  }

  /// A prompt of `length` tokens in steps of `chunk`.
  Entries prompt(int64_t seed, int64_t length, int64_t chunk) {
    Entries entries;
    for (int64_t first = 0; first < length; first += chunk)
      step(seed, first, std::min(chunk, length - first), entries);
    return entries;
  }

 private:
  static constexpr int64_t kDims = 5;

  static std::vector<float> values(int64_t count, int64_t seed) {
    std::vector<float> out(static_cast<size_t>(count));
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = 3 * std::sin(static_cast<float>(seed) + 1.7f * static_cast<float>(i));
    return out;
  }
  std::vector<float> part(int64_t seed, int64_t first, int64_t rows) const {
    const std::vector<float> all = values((first + rows) * width_, seed);
    return {all.begin() + first * width_, all.end()};
  }

  testing::OperatorRunner runner_{"null", std::make_shared<kernels::testing::TraceProvider>()};
  int64_t ratio_;
  bool overlap_;
  int64_t slots_, width_;
  testing::OperatorRunner::Tensor state_kv_, state_score_, ape_;
};

struct Shape {
  int64_t ratio;
  bool overlap;
  int64_t slots;
};
constexpr Shape kShapes[] = {{4, true, 8}, {4, true, 11}, {128, false, 128}};

TEST(CompressorSteps, APromptGivesTheSameEntriesInAnyChunks) {
  for (const Shape& s : kShapes)
    for (int64_t length : {1, 3, 4, 5, 127, 128, 129, 257}) {
      const auto whole = Compressor(s.ratio, s.overlap, s.slots).prompt(1, length, length);
      EXPECT_EQ(std::ssize(whole), length / s.ratio);
      for (const auto& [index, y] : whole)
        EXPECT_TRUE(std::all_of(y.begin(), y.end(), [](float v) { return std::isfinite(v); }))
            << "entry " << index << " of " << length;
      for (int64_t chunk : {1, 7, 64})
        EXPECT_EQ(Compressor(s.ratio, s.overlap, s.slots).prompt(1, length, chunk), whole)
            << "ratio " << s.ratio << ", " << length << " tokens in chunks of " << chunk;
    }
}

TEST(CompressorSteps, AShortPromptInheritsNothingFromALongOne) {
  for (const Shape& s : kShapes)
    for (int64_t length : {1, 2, 3}) {
      const int64_t more = s.ratio + 2;  // tokens that follow one by one, past an entry
      const auto fresh = Compressor(s.ratio, s.overlap, s.slots).prompt(5, length + more, 1);
      Compressor used(s.ratio, s.overlap, s.slots);
      used.prompt(1, 300, 64);
      Entries entries;
      used.step(5, 0, length, entries);
      for (int64_t q = length; q < length + more; ++q) used.step(5, q, 1, entries);
      EXPECT_EQ(entries, fresh) << "ratio " << s.ratio << ", a prompt of " << length;
    }
}

TEST(CompressorSteps, ARejectedDraftLeavesNoTrace) {
  for (const Shape& s : {Shape{4, true, 11}, Shape{128, false, 131}}) {
    const auto straight = Compressor(s.ratio, s.overlap, s.slots).prompt(1, 270, 1);
    Compressor drafting(s.ratio, s.overlap, s.slots);
    Entries entries, rejected;
    for (int64_t q = 0; q < 270; ++q) {
      drafting.step(9, q, 3, rejected);  // other tokens at q .. q + 2
      drafting.step(1, q, 1, entries);
    }
    EXPECT_EQ(entries, straight) << "ratio " << s.ratio;
  }
}

}  // namespace
}  // namespace tessera::ops
