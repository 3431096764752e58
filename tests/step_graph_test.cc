// SPDX-License-Identifier: Apache-2.0
// One captured decode step of an attention layer with compressed entries, replayed 600 times: a new
// entry every 4 steps, the window's ring wrapping every 128, and a larger bucket of entries (with a
// graph of its own) at steps 256 and 512. Between two replays the host writes the step state and
// nothing else; every step must equal the formulas computed directly in double.
// Usage: step_graph_test --device=cpu:avx2 [gtest options]; 77: there is no such device here.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/compiler/jit.h"
#include "tessera/ops/frame/host_tensor.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/graph.h"
#include "tessera/runtime/step_state.h"

namespace tessera {
namespace {

using ops::HostTensor;
using ops::Problem;

constexpr int64_t kSteps = 600, kWindow = 128, kRatio = 4, kVocabulary = 50;
constexpr int64_t kHeads = 2, kWidth = 128, kRope = 64, kPairs = kRope / 2;
constexpr int64_t kBuckets[] = {64, 128, 256};  // entries a graph has room for
constexpr int64_t kCacheRows = kWindow + kBuckets[2];
constexpr double kEps = 1e-6, kScale = 0.25;

std::string& device_spec() {
  static std::string spec = "cpu";
  return spec;
}

HostTensor random_tensor(DType dtype, Shape shape, double deviation, uint64_t seed) {
  HostTensor tensor({.dtype = dtype, .shape = shape});
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, deviation);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.set_flat(i, normal(random));
  return tensor;
}

/// What the layer is made of. Tables stand for the projections: a token's rows are looked up.
struct Layer {
  HostTensor query = random_tensor(DType::bf16, {kVocabulary, kHeads * kWidth}, 1, 1);
  HostTensor key = random_tensor(DType::bf16, {kVocabulary, kWidth}, 1, 2);
  HostTensor entry = random_tensor(DType::f32, {kVocabulary, kWidth}, 1, 3);
  HostTensor score = random_tensor(DType::f32, {kVocabulary, kWidth}, 2, 4);
  HostTensor ape = random_tensor(DType::f32, {kRatio, kWidth}, 1, 5);
  HostTensor key_weight = random_tensor(DType::bf16, {kWidth}, 1, 6);
  HostTensor entry_weight = random_tensor(DType::bf16, {kWidth}, 1, 7);
  HostTensor sink = random_tensor(DType::f32, {kHeads}, 1, 8);
  HostTensor cos{{.dtype = DType::f32, .shape = {kSteps, kPairs}}}, sin = cos;

  Layer() {
    for (int64_t p = 0; p < kSteps; ++p)
      for (int64_t i = 0; i < kPairs; ++i) {
        const double angle = static_cast<double>(p) * std::pow(10000.0, -i / 32.0);
        cos.set({p, i}, std::cos(angle));
        sin.set({p, i}, std::sin(angle));
      }
  }
};

int64_t token_of(int64_t position) { return (position * position * 7 + position * 3 + 5) % 50; }

// ---- directly ----

class Direct {
 public:
  explicit Direct(const Layer& layer) : layer_(layer) {}

  struct Attention {
    std::vector<double> value, magnitude;  // [heads * width]
  };

  /// Steps come in order.
  Attention step(int64_t position) {
    const int64_t token = token_of(position);
    keys_.push_back(row(row_of(layer_.key, token), layer_.key_weight, position));
    if ((position + 1) % kRatio == 0)
      entries_.push_back(row(pooled(position), layer_.entry_weight, position + 1 - kRatio));
    std::vector<const std::vector<double>*> seen;
    for (int64_t p = std::max<int64_t>(0, position + 1 - kWindow); p <= position; ++p)
      seen.push_back(&keys_[static_cast<size_t>(p)]);
    for (const auto& entry : entries_) seen.push_back(&entry);
    return attend(token, seen);
  }

 private:
  static double bf16(double value) { return decode_bf16(encode_bf16(value)); }

  static std::vector<double> row_of(const HostTensor& table, int64_t row) {
    std::vector<double> values;
    for (int64_t d = 0; d < kWidth; ++d) values.push_back(table.at({row, d}));
    return values;
  }

  /// Norm, then rope of the last dimensions, each rounded to bf16.
  std::vector<double> row(std::vector<double> x, const HostTensor& weight, int64_t position) const {
    double squares = 0;
    for (double v : x) squares += v * v;
    const double scale = 1 / std::sqrt(squares / kWidth + kEps);
    for (int64_t d = 0; d < kWidth; ++d)
      x[static_cast<size_t>(d)] = bf16(x[static_cast<size_t>(d)] * scale * weight.at({d}));
    for (int64_t i = 0; i < kPairs; ++i) {
      double &first = x[static_cast<size_t>(kWidth - kRope + 2 * i)], &second = (&first)[1];
      const double a = first, b = second;
      const double c = layer_.cos.at({position, i}), s = layer_.sin.at({position, i});
      first = bf16(a * c - b * s);
      second = bf16(a * s + b * c);
    }
    return x;
  }

  /// Softmax-weighted mean of the four tokens that end at `position`.
  std::vector<double> pooled(int64_t position) const {
    std::vector<double> mean;
    for (int64_t d = 0; d < kWidth; ++d) {
      double weights = 0, sum = 0;
      for (int64_t r = 0; r < kRatio; ++r) {
        const int64_t token = token_of(position + 1 - kRatio + r);
        const double weight = std::exp(layer_.score.at({token, d}) + layer_.ape.at({r, d}));
        weights += weight;
        sum += weight * layer_.entry.at({token, d});
      }
      mean.push_back(sum / weights);
    }
    return mean;
  }

  Attention attend(int64_t token, const std::vector<const std::vector<double>*>& seen) const {
    Attention out;
    for (int64_t h = 0; h < kHeads; ++h) {
      double denominator = std::exp(layer_.sink.at({h}));
      std::vector<double> sums(kWidth), sizes(kWidth);
      for (const auto* key : seen) {
        double score = 0;
        for (int64_t d = 0; d < kWidth; ++d)
          score += layer_.query.at({token, h * kWidth + d}) * (*key)[static_cast<size_t>(d)];
        const double weight = std::exp(score * kScale);
        denominator += weight;
        for (size_t d = 0; d < sums.size(); ++d) {
          sums[d] += weight * (*key)[d];
          sizes[d] += weight * std::abs((*key)[d]);
        }
      }
      for (size_t d = 0; d < sums.size(); ++d) {
        out.value.push_back(sums[d] / denominator);
        out.magnitude.push_back(sizes[d] / denominator);
      }
    }
    return out;
  }

  const Layer& layer_;
  std::vector<std::vector<double>> keys_, entries_;
};

// ---- on the device ----

class StepGraphs {
 public:
  static constexpr int kToken = 0, kPosition = 1, kRingRow = 2, kEntryRow = 3, kEntryPosition = 4,
                       kWords = 5;

  StepGraphs(runtime::Device& device, const Layer& layer)
      : device_(device),
        library_(device, {.provider = std::make_shared<compiler::Jit>(compiler::all_targets())}),
        stream_(device.create_stream().value()),
        state_(runtime::StepState::create(device, kWords).value()) {
    for (const HostTensor* t :
         {&layer.query, &layer.key, &layer.entry, &layer.score, &layer.ape, &layer.key_weight,
          &layer.entry_weight, &layer.sink, &layer.cos, &layer.sin}) {
      weights_.push_back(memory(t->bytes().size()));
      stream_->copy_to_device(*weights_.back(), 0, t->bytes()).value();
    }
    stream_->synchronize().value();
    for (const int64_t bucket : kBuckets) graphs_.push_back(capture(bucket));
  }

  /// Writes the state, sends it and replays; the result is read afterwards.
  std::vector<float> step(int64_t position) {
    const bool boundary = (position + 1) % kRatio == 0;
    const int64_t entry = position / kRatio;
    state_.set(kToken, token_of(position));
    state_.set(kPosition, position);
    state_.set(kRingRow, position % kWindow);
    state_.set(kEntryRow, boundary ? kWindow + entry : -1);
    state_.set(kEntryPosition, entry * kRatio);
    state_.upload(*stream_).value();
    size_t bucket = 0;
    while (kBuckets[bucket] <= entry) ++bucket;
    stream_->replay(*graphs_[bucket]).value();
    std::vector<uint16_t> codes(kHeads * kWidth);
    stream_->copy_to_host(std::as_writable_bytes(std::span(codes)), *out_, 0).value();
    stream_->synchronize().value();
    std::vector<float> values;
    for (const uint16_t code : codes) values.push_back(decode_bf16(code));
    return values;
  }

  /// Whether anything was stored in an entry's row of the cache, which began as NaN.
  bool has_entry(int64_t entry) {
    std::vector<uint16_t> codes(kWidth);
    stream_
        ->copy_to_host(std::as_writable_bytes(std::span(codes)), *cache_,
                       static_cast<size_t>((kWindow + entry) * kWidth) * sizeof(uint16_t))
        .value();
    stream_->synchronize().value();
    return std::any_of(codes.begin(), codes.end(), [](uint16_t code) { return code != 0xffff; });
  }

  size_t nodes() const { return graphs_[0]->node_count(); }

 private:
  enum Weight : size_t {
    kQuery,
    kKey,
    kEntry,
    kScore,
    kApe,
    kKeyWeight,
    kEntryWeight,
    kSink,
    kCos,
    kSin
  };
  using Dims = std::map<std::string, int64_t>;
  using Types = std::map<std::string, DType>;
  using Attributes = std::map<std::string, double>;

  /// Full of NaN: what is read before it is written shows.
  std::unique_ptr<runtime::Buffer> memory(size_t bytes) {
    auto buffer = device_.allocate(bytes).value();
    stream_->fill(*buffer, 0, bytes, 0xff).value();
    return buffer;
  }
  uint64_t weight(Weight which) const { return weights_[which]->address(); }

  void run(const char* name, const Dims& dims, const Types& types, const Attributes& attributes,
           const std::vector<uint64_t>& addresses) {
    const ops::Operator& op = *ops::find_operator(name).value();
    const auto problem = Problem::from_dims(*op.signature, dims, types, attributes).value();
    const auto prepared = ops::PreparedOp::prepare(library_, op, problem).value();
    workspaces_.push_back(memory(static_cast<size_t>(prepared.workspace_bytes())));
    calls_.push_back([=, this, workspace = workspaces_.back()->address()] {
      prepared.run(*stream_, addresses, workspace).value();
    });
  }

  void look_up(Weight table, int64_t width, DType dtype, uint64_t to) {
    run("embedding", {{"T", 1}, {"V", kVocabulary}, {"D", width}},
        {{"ids", DType::i32}, {"table", dtype}, {"y", dtype}}, {},
        {state_.address(kToken), weight(table), to});
  }

  /// Norm and rope of one row and its store, which a row number of -1 turns off.
  void insert(uint64_t x, DType dtype, Weight norm, int position, int row) {
    run("kv_norm_rope_insert", {{"T", 1}, {"D", kWidth}, {"P", kSteps}, {"S", kCacheRows}},
        {{"x", dtype},
         {"w", DType::bf16},
         {"positions", DType::i32},
         {"slots", DType::i32},
         {"cache", DType::bf16}},
        {{"eps", kEps}, {"simulate", 0}},
        {x, weight(norm), state_.address(position), weight(kCos), weight(kSin), state_.address(row),
         cache_->address(), 0});
  }

  void keep(uint64_t row, uint64_t ring) {
    run("kv_ring_write", {{"T", 1}, {"D", kWidth}, {"R", kRatio}},
        {{"kv", DType::f32}, {"cache", DType::f32}}, {{"window", kRatio}},
        {row, state_.address(kPosition), 0, ring});
  }

  void plan(int64_t bucket) {
    const uint64_t indices = indices_->address();
    const Types positions = {};
    look_up(kQuery, kHeads * kWidth, DType::bf16, query_->address());
    look_up(kKey, kWidth, DType::bf16, key_->address());
    look_up(kEntry, kWidth, DType::f32, entry_->address());
    look_up(kScore, kWidth, DType::f32, score_->address());
    insert(key_->address(), DType::bf16, kKeyWeight, kPosition, kRingRow);
    keep(entry_->address(), entry_ring_->address());
    keep(score_->address(), score_ring_->address());
    run("gated_pool", {{"C", 1}, {"R", kRatio}, {"D", kWidth}},
        {{"y", DType::f32}, {"ape", DType::f32}}, {},
        {entry_ring_->address(), score_ring_->address(), pooled_->address(), weight(kApe)});
    insert(pooled_->address(), DType::f32, kEntryWeight, kEntryPosition, kEntryRow);
    run("window_index", {{"T", 1}, {"W", kWindow}}, positions, {{"window", kWindow}, {"ring", 1}},
        {state_.address(kPosition), indices});
    run("compressed_index", {{"T", 1}, {"C", bucket}}, positions,
        {{"ratio", kRatio}, {"offset", kWindow}},
        {state_.address(kPosition), indices + kWindow * sizeof(int32_t)});
    run("sparse_attention",
        {{"T", 1}, {"H", kHeads}, {"D", kWidth}, {"R", kCacheRows}, {"N", kWindow + bucket}},
        {{"q", DType::bf16}, {"kv", DType::bf16}, {"out", DType::bf16}}, {{"scale", kScale}},
        {query_->address(), cache_->address(), indices, weight(kSink), out_->address(), 0});
  }

  std::unique_ptr<runtime::Graph> capture(int64_t bucket) {
    calls_.clear();
    plan(bucket);
    stream_->synchronize().value();
    stream_->begin_capture().value();
    for (const auto& call : calls_) call();
    return stream_->end_capture().value();
  }

  runtime::Device& device_;
  kernels::KernelLibrary library_;
  std::unique_ptr<runtime::Stream> stream_;
  runtime::StepState state_;
  std::vector<std::unique_ptr<runtime::Buffer>> weights_, workspaces_;
  std::unique_ptr<runtime::Buffer> query_ = memory(kHeads * kWidth * 2), key_ = memory(kWidth * 2),
                                   entry_ = memory(kWidth * 4), score_ = memory(kWidth * 4),
                                   entry_ring_ = memory(kRatio * kWidth * 4),
                                   score_ring_ = memory(kRatio * kWidth * 4),
                                   pooled_ = memory(kWidth * 4),
                                   cache_ = memory(kCacheRows * kWidth * 2),
                                   indices_ = memory((kWindow + kBuckets[2]) * 4),
                                   out_ = memory(kHeads * kWidth * 2);
  std::vector<std::function<void()>> calls_;
  std::vector<std::unique_ptr<runtime::Graph>> graphs_;
};

/// The weights p and the result are rounded to bf16, and a key may be rounded the other way than in
/// double. A row too many or too few, at whatever place, is off by far more at some step.
TEST(StepGraph, ReplaysAcrossEntriesRingsAndBuckets) {
  const auto device = runtime::open_device(device_spec(), {.guard_end = true}).value();
  const Layer layer;
  Direct direct(layer);
  StepGraphs graphs(*device, layer);
  EXPECT_GE(graphs.nodes(), 12u);
  for (int64_t position = 0; position < kSteps; ++position) {
    const std::vector<float> got = graphs.step(position);
    const Direct::Attention want = direct.step(position);
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want.value[i],
                  0x1p-9 * std::abs(want.value[i]) + 0x1p-8 * want.magnitude[i])
          << "position " << position << ", element " << i;
    ASSERT_EQ(graphs.has_entry(position / kRatio), (position + 1) % kRatio == 0) << position;
  }
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string_view argument = argc > 1 ? argv[1] : "";
  if (argument.starts_with("--device=")) tessera::device_spec() = argument.substr(9);
  const auto device = tessera::runtime::open_device(tessera::device_spec());
  if (!device.ok()) {
    std::fprintf(stderr, "skipped: %s\n", device.error().message.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
