// SPDX-License-Identifier: Apache-2.0
// The reference model on random checkpoints: properties that hold whatever the weights are, and
// that the checkpoints are worth testing with.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "tessera/base/testing/temporary_folder.h"
#include "tests/reference_model/comparison.h"
#include "tests/reference_model/model.h"
#include "tests/reference_model/random_checkpoint.h"

namespace tessera::reference_model {
namespace {

constexpr int kTokens = 136;  // completes an entry of ratio 128

std::vector<int64_t> some_ids() {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < kTokens; ++i) ids.push_back((i * i * 7 + i * 3 + 5) % 256);
  return ids;
}

/// The small model with other fields.
nlohmann::json changed(const nlohmann::json& fields) {
  nlohmann::json config = small_config();
  config.update(fields);
  return config;
}

class Checkpoint {
 public:
  explicit Checkpoint(const nlohmann::json& config, uint64_t seed = 1) {
    const auto written = write_random_checkpoint(config, folder_.path(), seed);
    TESSERA_CHECK(written.ok(), "{}", written.error().to_string());
  }
  Model open(Mode mode) const {
    auto model = Model::open(folder_.path(), mode);
    TESSERA_CHECK(model.ok(), "{}", model.error().to_string());
    return std::move(*model);
  }
  /// The same weights under another config.
  Model open_with(const nlohmann::json& config) const {
    write_file(folder_ / "config.json", config.dump());
    return open(Mode::exact);
  }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
};

Rows all_logits(const Model& model, const Trace& trace = {}) {
  Sequence sequence = model.new_sequence();
  return model.logits(model.forward(some_ids(), sequence, trace));
}

double deviation(const Rows& rows) {
  return std::sqrt(dot(rows.values, rows.values) / static_cast<double>(rows.values.size()));
}

struct Size {
  const char* name;
  nlohmann::json fields;
};
void PrintTo(const Size& size, std::ostream* out) { *out << size.name; }

class RandomModel : public testing::TestWithParam<Size> {};

TEST_P(RandomModel, TakesAPromptInPiecesOfAnySize) {
  const Model model = Checkpoint(changed(GetParam().fields)).open(Mode::exact);
  const Rows whole = all_logits(model);
  EXPECT_GT(deviation(whole), 0.5);
  EXPECT_LT(deviation(whole), 2);
  // A prompt, then steps across the end of a window of 128 tokens; and pieces of both.
  for (const auto& [first, piece] : {std::pair<size_t, size_t>{118, 1}, {50, 50}}) {
    const auto ids = some_ids();
    Sequence sequence = model.new_sequence();
    Rows logits;
    for (size_t begin = 0; begin < ids.size();) {
      const size_t count = std::min(begin == 0 ? first : piece, ids.size() - begin);
      logits.append(model.logits(model.forward(std::span(ids).subspan(begin, count), sequence)));
      begin += count;
    }
    EXPECT_LE(max_difference(logits, whole), 1e-12) << "pieces of " << piece;
  }
}

TEST_P(RandomModel, NativeStaysNearExact) {
  const Checkpoint checkpoint(changed(GetParam().fields));
  const Rows exact = all_logits(checkpoint.open(Mode::exact));
  const Rows native = all_logits(checkpoint.open(Mode::native));
  double sum = 0;
  for (int64_t t = 0; t < exact.rows; ++t) sum += cosine(native[t], exact[t]);
  EXPECT_GT(sum / kTokens, 0.9);
  EXPECT_LT(sum / kTokens, 0.99999);  // the modes do differ
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, RandomModel,
    testing::Values(Size{"small", nlohmann::json::object()},
                    Size{"two_layers",
                         {{"num_hidden_layers", 2},
                          {"num_hash_layers", 0},
                          {"compress_ratios", {128, 4, 0}},
                          {"num_attention_heads", 6},
                          {"head_dim", 128},
                          {"o_groups", 3},
                          {"sliding_window", 5},
                          {"index_topk", 3}}},
                    Size{"nine_layers",
                         {{"num_hidden_layers", 9},
                          {"num_hash_layers", 1},
                          {"compress_ratios", {0, 0, 4, 128, 4, 128, 4, 128, 4, 0}},
                          {"hidden_size", 128},
                          {"num_attention_heads", 8},
                          {"head_dim", 128},
                          {"o_groups", 8},
                          {"sliding_window", 64},
                          {"index_n_heads", 8},
                          {"index_topk", 512},
                          {"n_routed_experts", 5},
                          {"num_experts_per_tok", 5}}},
                    Size{"fp8_experts",
                         {{"expert_dtype", "fp8"}, {"num_nextn_predict_layers", 0}}}),
    [](const auto& info) { return info.param.name; });

TEST(RandomCheckpoint, EveryFieldMatters) {
  const nlohmann::json three_layers = {{"num_hidden_layers", 3},
                                       {"compress_ratios", {0, 4, 128, 0}}};
  const Checkpoint checkpoint(changed(three_layers));
  const Rows logits = all_logits(checkpoint.open(Mode::exact));
  const nlohmann::json longer_yarn = {{"factor", 16},
                                      {"beta_fast", 32},
                                      {"beta_slow", 1},
                                      {"original_max_position_embeddings", 256}};
  const nlohmann::json changes[] = {{{"swiglu_limit", 9.0}},
                                    {{"sliding_window", 17}},
                                    {{"index_topk", 9}},
                                    {{"rope_theta", 20000}},
                                    {{"compress_rope_theta", 80000}},
                                    {{"rope_scaling", longer_yarn}},
                                    {{"routed_scaling_factor", 2.5}},
                                    {{"hc_sinkhorn_iters", 1}},
                                    {{"hc_eps", 1e-3}},
                                    {{"rms_norm_eps", 1e-2}}};
  for (const auto& change : changes) {
    nlohmann::json config = changed(three_layers);
    config.update(change);
    EXPECT_GT(max_difference(all_logits(checkpoint.open_with(config)), logits), 1e-3) << change;
  }
}

TEST(RandomCheckpoint, WeightsHaveTheSizesAskedFor) {
  const Checkpoint checkpoint(small_config());
  const auto files = TensorFiles::open(checkpoint.folder().path());
  ASSERT_TRUE(files.ok());
  WeightReader weights(*files);
  const auto measured = [&](const std::string& name, int64_t rows, int64_t cols) {
    const Matrix matrix = weights.linear(name, rows, cols);
    Rows values(rows, cols);
    for (int64_t r = 0; r < rows; ++r) matrix.decode_row(r, values[r]);
    return deviation(values) * std::sqrt(cols);
  };
  EXPECT_NEAR(measured("layers.3.ffn.experts.7.w1", 128, 256), 4, 0.1);
  EXPECT_NEAR(measured("layers.3.ffn.experts.7.w2", 256, 128), 0.1, 0.0025);
  EXPECT_NEAR(measured("layers.3.ffn.shared_experts.w1", 128, 256), 4, 0.1);
  EXPECT_NEAR(measured("layers.0.attn.wo_a", 256, 384), 1, 0.025);
  EXPECT_NEAR(measured("head", 256, 256), 1, 0.025);
  ASSERT_FALSE(weights.error());
  std::set<std::byte> scales;
  for (const std::byte code : files->find("layers.3.ffn.experts.7.w1.scale")->bytes)
    scales.insert(code);
  EXPECT_EQ(scales.size(), 2u);
}

TEST(RandomCheckpoint, SeedDecidesTheBytes) {
  const Checkpoint first(small_config(), 1), again(small_config(), 1), other(small_config(), 2);
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(first.folder().path()))
    names.insert(entry.path().filename());
  EXPECT_EQ(names.size(), 11u);  // embedding, 6 layers, head, draft, index, config
  for (const std::string& name : names)
    EXPECT_EQ(read_file(first.folder() / name), read_file(again.folder() / name)) << name;
  const std::string shard = "model-00003-of-00009.safetensors";
  EXPECT_NE(read_file(first.folder() / shard), read_file(other.folder() / shard));
}

TEST(RandomCheckpoint, WrongConfigIsNamed) {
  TemporaryFolder folder;
  const auto missing = write_random_checkpoint(changed({{"head_dim", "wide"}}), folder.path(), 1);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().message, "config.json: head_dim is missing or no number");
  const auto ratios =
      write_random_checkpoint(changed({{"num_hidden_layers", 7}}), folder.path(), 1);
  ASSERT_FALSE(ratios.ok());
  EXPECT_EQ(ratios.error().message, "config.json: 7 compress_ratios for 8 layers");
}

TEST(ReferenceModel, WrongWeightsAreNamed) {
  const Checkpoint checkpoint(small_config());
  write_file(checkpoint.folder() / "config.json", changed({{"o_lora_rank", 256}}).dump());
  const auto model = Model::open(checkpoint.folder().path(), Mode::exact);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.error().message,
            "layers.0.attn.wo_a.weight has the shape [256, 384], expected [512, 384]");
}

TEST(ReferenceModel, TracesByName) {
  const Model model = Checkpoint(small_config()).open(Mode::native);
  std::map<std::string, Rows> seen;
  const Rows logits = all_logits(model, {[&](const std::string& name, const Rows& value) {
                                   EXPECT_TRUE(seen.emplace(name, value).second)
                                       << name << " came twice";
                                 }});
  EXPECT_EQ(seen.at("layers.0.attn_norm").cols, 256);
  EXPECT_EQ(seen.at("layers.0.attn.q").cols, 4 * 192);
  EXPECT_EQ(seen.at("layers.1.attn.indexer.topk").cols, 8);
  EXPECT_EQ(seen.at("layers.1.attn.indexer.scores").cols, kTokens / 4);
  EXPECT_EQ(seen.at("layers.2.attn.compressor.entries").rows, kTokens / 128);
  EXPECT_EQ(seen.at("layers.5.ffn.gate.ids").cols, 2);
  EXPECT_EQ(max_difference(model.logits(seen.at("layers.5.h")), logits), 0);
}

}  // namespace
}  // namespace tessera::reference_model
