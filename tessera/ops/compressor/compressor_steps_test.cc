// SPDX-License-Identifier: Apache-2.0
// compressor_pool and compressor_state_write together: a prompt gives the same entries whole, in
// chunks and token by token, and a sequence inherits nothing from the one before it.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "tessera/kernels/testing/sample_kernels.h"
#include "tessera/ops/compressor/compressor_pool.h"
#include "tessera/ops/compressor/compressor_state_write.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/device.h"

namespace tessera::ops {
namespace {

/// One compressor with the state of one sequence, on the null chip.
class Compressor {
 public:
  Compressor(int64_t ratio, bool overlap, int64_t slots)
      : ratio_(ratio),
        overlap_(overlap),
        slots_(slots),
        width_(overlap ? 2 * kDims : kDims),
        device_(std::move(runtime::open_device("null")).value()),
        library_(*device_, {.provider = std::make_shared<kernels::testing::TraceProvider>()}),
        stream_(std::move(device_->create_stream()).value()) {
    const auto state = static_cast<size_t>(slots * width_);
    state_kv_ = upload(std::vector<float>(state, NAN));
    state_score_ = upload(std::vector<float>(state, NAN));
    ape_ = upload(values(ratio * width_, 7));
  }

  /// Runs positions [first, first + rows) of a prompt; entries by their number.
  void step(int64_t seed, int64_t first, int64_t rows, std::map<int64_t, std::vector<float>>& out) {
    std::vector<int32_t> index, positions, state_slots;
    for (int64_t i = first / ratio_; (i + 1) * ratio_ <= first + rows; ++i)
      index.push_back(static_cast<int32_t>(i));
    const auto count = static_cast<int64_t>(index.size()) + 1;
    index.push_back(-1);  // a step has room for more than it completes
    for (int64_t q = first; q < first + rows; ++q) {
      positions.push_back(static_cast<int32_t>(q));
      state_slots.push_back(q + slots_ < first + rows ? -1 : static_cast<int32_t>(q % slots_));
    }
    const auto entries = static_cast<size_t>(count);
    const Buffer kv = upload(part(seed, first, rows)), score = upload(part(seed + 1, first, rows));
    const Buffer y = upload(std::vector<float>(entries * kDims, 0));
    run<CompressorPool>(
        {{"T", rows},
         {"W", width_},
         {"G", ratio_},
         {"S", 1},
         {"slots", slots_},
         {"E", count},
         {"D", kDims}},
        {{"y", DType::f32}}, {{"ratio", static_cast<double>(ratio_)}, {"overlap", overlap_}},
        {&kv, &score, &ape_, &state_kv_, &state_score_, keep(std::vector<int32_t>(entries, 0)),
         keep(index), keep(std::vector<int32_t>(entries, 0)),
         keep(std::vector<int32_t>(entries, static_cast<int32_t>(first))), &y});
    run<CompressorStateWrite>(
        {{"T", rows}, {"W", width_}, {"G", ratio_}, {"R", slots_}}, {}, {},
        {&kv, &score, &ape_, keep(positions), keep(state_slots), &state_kv_, &state_score_});
    std::vector<float> all(entries * kDims);
    EXPECT_TRUE(stream_->copy_to_host(std::as_writable_bytes(std::span(all)), *y, 0).ok());
    EXPECT_TRUE(stream_->synchronize().ok());
    for (size_t e = 0; e + 1 < entries; ++e)
      out[index[e]].assign(all.begin() + static_cast<std::ptrdiff_t>(e * kDims),
                           all.begin() + static_cast<std::ptrdiff_t>((e + 1) * kDims));
    kept_.clear();
  }

  /// A prompt of `length` tokens in steps of `chunk`.
  std::map<int64_t, std::vector<float>> prompt(int64_t seed, int64_t length, int64_t chunk) {
    std::map<int64_t, std::vector<float>> entries;
    for (int64_t first = 0; first < length; first += chunk)
      step(seed, first, std::min(chunk, length - first), entries);
    return entries;
  }

 private:
  using Buffer = std::unique_ptr<runtime::Buffer>;
  static constexpr int64_t kDims = 5;

  static std::vector<float> values(int64_t count, int64_t seed) {
    std::vector<float> out(static_cast<size_t>(count));
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = 3 * std::sin(static_cast<float>(seed) + 1.7f * static_cast<float>(i));
    return out;
  }
  /// Rows of the prompt that `seed` stands for.
  std::vector<float> part(int64_t seed, int64_t first, int64_t rows) const {
    const std::vector<float> all = values((first + rows) * width_, seed);
    return {all.begin() + first * width_, all.end()};
  }
  template <class T>
  Buffer upload(const std::vector<T>& data) {
    Buffer buffer = std::move(device_->allocate(data.size() * sizeof(T))).value();
    EXPECT_TRUE(stream_->copy_to_device(*buffer, 0, std::as_bytes(std::span(data))).ok());
    return buffer;
  }
  template <class T>
  const Buffer* keep(const std::vector<T>& data) {
    return kept_.emplace_back(std::make_unique<Buffer>(upload(data))).get();
  }
  template <class Op>
  void run(std::map<std::string, int64_t> dims, std::map<std::string, DType> dtypes,
           std::map<std::string, double> attributes, std::vector<const Buffer*> tensors) {
    static const Operator op = make_operator<Op>();
    const auto problem = Problem::from_dims(*op.signature, std::move(dims), std::move(dtypes),
                                            std::move(attributes));
    ASSERT_TRUE(problem.ok()) << problem.error().message;
    const auto prepared = PreparedOp::prepare(library_, op, *problem);
    ASSERT_TRUE(prepared.ok()) << prepared.error().message;
    std::vector<uint64_t> addresses;
    for (const Buffer* tensor : tensors) addresses.push_back((*tensor)->address());
    ASSERT_TRUE(prepared->run(*stream_, addresses, 0).ok());
    ASSERT_TRUE(stream_->synchronize().ok());
  }

  int64_t ratio_;
  bool overlap_;
  int64_t slots_, width_;
  std::unique_ptr<runtime::Device> device_;
  kernels::KernelLibrary library_;
  std::unique_ptr<runtime::Stream> stream_;
  Buffer state_kv_, state_score_, ape_;
  std::vector<std::unique_ptr<Buffer>> kept_;
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
      std::map<int64_t, std::vector<float>> entries;
      used.step(5, 0, length, entries);
      for (int64_t q = length; q < length + more; ++q) used.step(5, q, 1, entries);
      EXPECT_EQ(entries, fresh) << "ratio " << s.ratio << ", a prompt of " << length;
    }
}

TEST(CompressorSteps, ARejectedDraftLeavesNoTrace) {
  for (const Shape& s : {Shape{4, true, 11}, Shape{128, false, 131}}) {
    const auto straight = Compressor(s.ratio, s.overlap, s.slots).prompt(1, 270, 1);
    Compressor drafting(s.ratio, s.overlap, s.slots);
    std::map<int64_t, std::vector<float>> entries, rejected;
    for (int64_t q = 0; q < 270; ++q) {
      drafting.step(9, q, 3, rejected);  // other tokens at q .. q + 2
      drafting.step(1, q, 1, entries);
    }
    EXPECT_EQ(entries, straight) << "ratio " << s.ratio;
  }
}

}  // namespace
}  // namespace tessera::ops
