// SPDX-License-Identifier: Apache-2.0
// Converted checkpoints, read by the reference model's own reader and compared with their sources
// bit by bit; conversions that are killed, go on, or cannot be.
#include "tessera/model/deepseek_v4/conversion/convert.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <fstream>

#include "tessera/base/testing/expect_result.h"
#include "tessera/base/testing/reference_data.h"
#include "tessera/base/testing/temporary_folder.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"
#include "tessera/model/deepseek_v4/testing/sparse_checkpoint.h"
#include "tessera/model/deepseek_v4/weight_match.h"
#include "tests/reference_model/random_checkpoint.h"
#include "tests/reference_model/weight.h"

namespace tessera::model::deepseek_v4 {
namespace {

namespace fs = std::filesystem;
using reference_model::Matrix;
using reference_model::TensorFiles;
using reference_model::WeightReader;

constexpr auto kNoProgress = [](const ConversionProgress&) {};

class ConvertTest : public testing::Test {
 protected:
  /// A source of every kind of layer, with a draft block.
  static const fs::path& source() {
    static const TemporaryFolder folder;
    static const bool written = [] {
      EXPECT_OK(reference_model::write_random_checkpoint(reference_model::small_config(),
                                                         folder.path(), 3));
      write_file(folder / "tokenizer.json", "{}");
      fs::create_directories(folder / "encoding");
      write_file(folder / "encoding/notes.txt", "text");
      write_file(folder / "README.md", "not taken along");
      return true;
    }();
    EXPECT_TRUE(written);
    return folder.path();
  }
  static ConversionPlan plan(const ConversionOptions& options, const fs::path& from = source()) {
    auto planned = plan_conversion(from, options);
    EXPECT_TRUE(planned.ok()) << planned.error().to_string();
    return std::move(*planned);
  }
  ConversionResult converted(const ConversionOptions& options, const fs::path& from = source()) {
    const auto result = convert(plan(options, from), folder_ / "out", 2, kNoProgress);
    EXPECT_TRUE(result.ok()) << result.error().to_string();
    return result.ok() ? *result : ConversionResult{};
  }
  fs::path out() const { return folder_ / "out"; }

  TemporaryFolder folder_;
};

/// Every tensor of a model, matrices by their values, all else by their bytes. `same` compares two
/// rows of a matrix of an expert; other matrices are equal.
template <class Same>
void compare(const fs::path& from, const fs::path& to, Same&& same) {
  const auto old_files = TensorFiles::open(from), new_files = TensorFiles::open(to);
  ASSERT_OK(old_files);
  ASSERT_OK(new_files);
  const Config config = load_config(from).value();
  WeightReader old_weights(*old_files), new_weights(*new_files);
  int64_t matrices = 0;
  for (const WeightSpec& weight : expand_weights(config, config.draft_layers)) {
    if (weight.is_scale) continue;
    const std::string stem = weight.name.substr(0, weight.name.rfind('.'));
    if (!old_weights.has(stem + ".scale")) {
      const auto *a = old_files->find(weight.name), *b = new_files->find(weight.name);
      ASSERT_TRUE(a && b) << weight.name;
      EXPECT_EQ(a->dtype, b->dtype) << weight.name;
      EXPECT_TRUE(std::ranges::equal(a->bytes, b->bytes)) << weight.name;
      continue;
    }
    ++matrices;
    const int64_t rows = weight.shape[0],
                  columns = weight.shape[1] * (weight.dtype == DType::i8 ? 2 : 1);
    std::vector<double> a(static_cast<size_t>(columns)), b(a.size());
    if (weight.expert >= 0 && same(*new_files, stem, rows, columns, old_weights)) continue;
    const Matrix before = old_weights.linear(stem, rows, columns),
                 after = new_weights.linear(stem, rows, columns);
    ASSERT_FALSE(new_weights.error()) << new_weights.error()->to_string();
    for (int64_t r = 0; r < rows; ++r) {
      before.decode_row(r, a);
      after.decode_row(r, b);
      ASSERT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(double)), 0)
          << stem << ", row " << r;
    }
  }
  EXPECT_GT(matrices, 100);
}
constexpr auto kExactly = [](auto&&...) { return false; };

void expect_complete(const fs::path& folder, DType linears, DType experts) {
  const auto config = load_config(folder);
  ASSERT_OK(config);
  EXPECT_EQ(config->linear_dtype, linears);
  EXPECT_EQ(config->expert_dtype, experts);
  const auto opened = checkpoint::Checkpoint::open(folder);
  ASSERT_OK(opened);
  EXPECT_TRUE(match_weights(*opened, *config).problems.empty());
  EXPECT_EQ(opened->declared_bytes(), opened->tensor_bytes());
  // What readers that map elements of a type need.
  for (const auto& tensor : opened->tensors()) {
    const auto& file = opened->shards()[static_cast<size_t>(tensor.shard)].file;
    EXPECT_EQ((tensor.data.data() - file.bytes().data()) % (bits(tensor.dtype) / 8), 0)
        << tensor.name;
  }
}

TEST_F(ConvertTest, Bf16IsEqualBitByBit) {
  const auto result = converted({.form = WeightForm::bf16, .shard_bytes = 1 << 20});
  EXPECT_GT(result.shards, 5u);
  expect_complete(out(), DType::bf16, DType::bf16);
  compare(source(), out(), kExactly);
  EXPECT_EQ(read_file(out() / "tokenizer.json"), "{}");
  EXPECT_EQ(read_file(out() / "encoding/notes.txt"), "text");
  EXPECT_FALSE(fs::exists(out() / "README.md"));
}

TEST_F(ConvertTest, Fp8IsEqualBitByBit) {
  converted({.form = WeightForm::fp8});
  expect_complete(out(), DType::f8e4m3, DType::f8e4m3);
  compare(source(), out(), kExactly);
}

TEST_F(ConvertTest, NativeIsEqualBitByBit) {
  converted({.form = WeightForm::native, .shard_bytes = 300'000});
  expect_complete(out(), DType::f8e4m3, DType::f4e2m1);
  compare(source(), out(), kExactly);
}

TEST_F(ConvertTest, NanoIsEqualBitByBit) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const fs::path nano = reference_folder() / "goldens/flash-nano";
  for (const WeightForm form : {WeightForm::bf16, WeightForm::fp8}) {
    const fs::path to = folder_ / std::string(name(form));
    ASSERT_OK(convert(plan({.form = form}, nano), to, 2, kNoProgress));
    compare(nano, to, kExactly);
  }
}

TEST_F(ConvertTest, Int8SaysItsError) {
  const auto result = converted({.form = WeightForm::int8});
  expect_complete(out(), DType::f8e4m3, DType::i8);
  double squares = 0, of_values = 0, largest = 0;
  compare(source(), out(),
          [&](const TensorFiles& made, const std::string& stem, int64_t rows, int64_t columns,
              WeightReader& source) {
            const auto *codes = made.find(stem + ".weight"), *scales = made.find(stem + ".scale");
            EXPECT_TRUE(codes && scales);
            EXPECT_EQ(scales->dtype, "F32");
            const Matrix before = source.linear(stem, rows, columns);
            std::vector<double> row(static_cast<size_t>(columns));
            for (int64_t r = 0; r < rows; ++r) {
              before.decode_row(r, row);
              float scale;
              std::memcpy(&scale, &scales->bytes[static_cast<size_t>(r) * 4], 4);
              double worst = 0, top = 0;
              for (int64_t c = 0; c < columns; ++c) {
                const auto code =
                    static_cast<int8_t>(codes->bytes[static_cast<size_t>(r * columns + c)]);
                const double value = row[static_cast<size_t>(c)],
                             difference = value - code * static_cast<double>(scale);
                squares += difference * difference;
                of_values += value * value;
                worst = std::max(worst, std::abs(difference));
                top = std::max(top, std::abs(value));
              }
              EXPECT_LE(worst, 0.5001 * scale) << stem << ", row " << r;
              if (top > 0) largest = std::max(largest, worst / top);
            }
            return true;
          });
  EXPECT_NEAR(result.loss.int8.relative(), std::sqrt(squares / of_values), 1e-6);
  EXPECT_NEAR(result.loss.int8.largest, largest, 1e-6);
  EXPECT_LT(result.loss.int8.relative(), 0.02);
}

TEST_F(ConvertTest, KeepsSomeLayers) {
  converted({.form = WeightForm::native, .layers = LayerRange{2, 4}});
  expect_complete(out(), DType::f8e4m3, DType::f4e2m1);
  const auto whole = TensorFiles::open(source()), part = TensorFiles::open(out());
  for (const char* name : {"attn.wq_b.weight", "ffn.experts.3.w2.scale", "hc_ffn_fn"}) {
    const auto *a = whole->find(fmt::format("layers.3.{}", name)),
               *b = part->find(fmt::format("layers.1.{}", name));
    ASSERT_TRUE(a && b) << name;
    EXPECT_TRUE(std::ranges::equal(a->bytes, b->bytes)) << name;
  }
  EXPECT_EQ(part->find("mtp.0.e_proj.weight"), nullptr);
}

TEST_F(ConvertTest, GivesTheExpertsOfARankFilesOfTheirOwn) {
  converted({.form = WeightForm::native, .ranks = 2});
  expect_complete(out(), DType::f8e4m3, DType::f4e2m1);
  compare(source(), out(), kExactly);
  const auto opened = checkpoint::Checkpoint::open(out());
  ASSERT_OK(opened);
  const Config config = load_config(out()).value();
  for (const auto& weight : expand_weights(config, 1)) {
    const auto* tensor = opened->find(weight.name);
    const std::string file =
        opened->shards()[static_cast<size_t>(tensor->shard)].path.filename().string();
    const std::string wanted = weight.expert < 0                    ? "model-common-00001-of-00001"
                               : weight.expert < config.experts / 2 ? "model-rank00-00001-of-00001"
                                                                    : "model-rank01-00001-of-00001";
    EXPECT_EQ(file, wanted + ".safetensors") << weight.name;
  }
}

/// Names and contents of the files of a folder.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      all[fs::relative(entry.path(), folder).string()] = read_file(entry.path());
  return all;
}

TEST_F(ConvertTest, GoesOnAfterBeingKilledAtAnyMoment) {
  const ConversionOptions options{.form = WeightForm::bf16, .shard_bytes = 400'000};
  const ConversionPlan planned = plan(options);
  ASSERT_OK(convert(planned, folder_ / "at once", 2, kNoProgress));
  const auto slow = [](const ConversionProgress&) { ::usleep(100); };
  int killed = 0, partly = 0;
  for (int attempt = 0; attempt < 200; ++attempt) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(convert(planned, out(), 2, slow).ok() ? 0 : 1);
    ::usleep(static_cast<useconds_t>(1000 + 700 * attempt));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      break;
    }
    ++killed;
    // Never a checkpoint before it is whole, and every file that has its name is whole.
    EXPECT_FALSE(fs::exists(out() / "config.json") && !fs::exists(out() / "tokenizer.json"));
    const auto start = look_at_destination(planned, out());
    ASSERT_OK(start);
    if (!start->missing.empty() && start->missing.size() < planned.shards.size()) ++partly;
  }
  EXPECT_GE(killed, 3);
  EXPECT_GE(partly, 1);
  ASSERT_OK(convert(planned, out(), 2, kNoProgress));
  EXPECT_TRUE(contents(out()) == contents(folder_ / "at once"));
}

TEST_F(ConvertTest, KeepsWhatIsThere) {
  const ConversionOptions options{.form = WeightForm::fp8, .shard_bytes = 1 << 20};
  const size_t all = converted(options).shards;
  ASSERT_GT(all, 3u);
  EXPECT_EQ(converted(options).kept, all);
  fs::remove(out() / plan(options).shards[1].file);
  write_file(out() / (plan(options).shards[1].file + ".a1B2c3"), "left over");
  const auto again = converted(options);
  EXPECT_EQ(again.shards, 1u);
  EXPECT_EQ(again.kept, all - 1);
  EXPECT_FALSE(fs::exists(out() / (plan(options).shards[1].file + ".a1B2c3")));
}

TEST_F(ConvertTest, LeavesOtherFilesAlone) {
  converted({.form = WeightForm::fp8});
  const std::string file = (out() / "model-00001-of-00001.safetensors").string();
  EXPECT_ERROR(invalid_argument,
               file +
                   " is not of this conversion (another source or other options, or the source has "
                   "changed since); remove it or name another folder",
               convert(plan({.form = WeightForm::int8}), out(), 1, kNoProgress));
  EXPECT_ERROR(invalid_argument, source().string() + " is the source itself; name another folder",
               convert(plan({.form = WeightForm::fp8}), source(), 1, kNoProgress));
}

TEST_F(ConvertTest, OneConversionAtATimeInAFolder) {
  fs::create_directories(out());
  const int held = ::open(out().c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(held, LOCK_EX), 0);
  EXPECT_ERROR(unavailable, out().string() + ": another conversion is writing here",
               convert(plan({.form = WeightForm::fp8}), out(), 1, kNoProgress));
  ::close(held);
}

TEST_F(ConvertTest, ChecksTheRoomFirst) {
  nlohmann::json config = sample_config();
  config.merge_patch({{"vocab_size", 1 << 24}, {"hidden_size", 1 << 16}});
  std::map<std::string, ListedTensor> tensors;
  for (const WeightSpec& weight : expand_weights(parse_config(config.dump()).value(), 1))
    tensors[weight.name] = {std::string(checkpoint::safetensors_name(weight.dtype)), weight.shape};
  write_sparse_checkpoint(folder_.path(), config.dump(), tensors);
  const auto planned = plan({.form = WeightForm::bf16}, folder_.path());
  const auto refused = convert(planned, out(), 1, kNoProgress);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::io);
  EXPECT_TRUE(refused.error().message.starts_with(out().string() + " has room for "))
      << refused.error().message;
  EXPECT_TRUE(refused.error().message.ends_with(" GiB, the conversion writes 4113.9 GiB"))
      << refused.error().message;
  EXPECT_FALSE(fs::exists(out()));
}

TEST_F(ConvertTest, NamesTensorBlockAndCodesThatCannotBeHeld) {
  const fs::path bad = folder_ / "bad";
  fs::copy(source(), bad, fs::copy_options::recursive);
  const auto set = [&](const std::string& name, size_t at, char value) {
    const auto opened = checkpoint::Checkpoint::open(bad);
    const auto* tensor = opened->find(name);
    ASSERT_NE(tensor, nullptr);
    const auto& shard = opened->shards()[static_cast<size_t>(tensor->shard)];
    std::fstream file(shard.path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(tensor->data.data() - shard.file.bytes().data() + static_cast<ptrdiff_t>(at));
    file.put(value);
  };
  set("layers.1.ffn.experts.2.w1.weight", 5, 0x17);
  set("layers.1.ffn.experts.2.w1.scale", 0, 40);
  const auto fp8 = convert(plan({.form = WeightForm::fp8}, bad), out(), 2, kNoProgress);
  ASSERT_FALSE(fp8.ok());
  EXPECT_EQ(fp8.error().code, ErrorCode::unsupported);
  EXPECT_TRUE(fp8.error().message.starts_with(
      "layers.1.ffn.experts.2.w1.weight, rows 0 to 127, columns 0 to 127, scales 40 (2^-87) to "))
      << fp8.error().message;
  EXPECT_TRUE(
      fp8.error().message.ends_with(": too far apart for e4m3 with one scale; --round "
                                    "rounds such blocks, --to bf16 keeps them exactly"))
      << fp8.error().message;
  EXPECT_FALSE(fs::exists(out() / "config.json"));
  const auto rounded =
      convert(plan({.form = WeightForm::fp8, .inexact = checkpoint::Inexact::round}, bad),
              folder_ / "rounded", 2, kNoProgress);
  ASSERT_OK(rounded);
  EXPECT_EQ(rounded->loss.rounding.blocks, 1);
  EXPECT_LT(rounded->loss.rounding.largest, 1e-3);

  set("layers.1.ffn.experts.2.w1.scale", 0, static_cast<char>(255));
  for (const WeightForm form : {WeightForm::bf16, WeightForm::int8}) {
    const auto refused =
        convert(plan({.form = form}, bad), folder_ / std::string(name(form)), 2, kNoProgress);
    ASSERT_FALSE(refused.ok());
    EXPECT_TRUE(refused.error().message.starts_with(
        "layers.1.ffn.experts.2.w1.weight, row 0, columns 0 to 31, scale 255 (no number), codes "))
        << refused.error().message;
  }
}

TEST_F(ConvertTest, WhatIsLostStaysLost) {
  converted({.form = WeightForm::bf16});
  EXPECT_ERROR(
      unsupported,
      "layers.0.ffn.experts.0.w1.weight is bf16 in the source: it cannot become f8e4m3 without "
      "loss; convert from a checkpoint as published",
      plan_conversion(out(), {.form = WeightForm::fp8}));
  // INT8 is made of anything, and of bf16 it is the same.
  ASSERT_OK(convert(plan({.form = WeightForm::int8}, source()), folder_ / "a", 2, kNoProgress));
  ASSERT_OK(convert(plan({.form = WeightForm::int8}, out()), folder_ / "b", 2, kNoProgress));
  const auto a = TensorFiles::open(folder_ / "a"), b = TensorFiles::open(folder_ / "b");
  for (const char* name : {"weight", "scale"})
    EXPECT_TRUE(
        std::ranges::equal(a->find(fmt::format("layers.4.ffn.experts.1.w3.{}", name))->bytes,
                           b->find(fmt::format("layers.4.ffn.experts.1.w3.{}", name))->bytes));
}

/// A bf16 checkpoint under the names of transformers' modules, experts of a layer in stacks.
void write_transformers(const fs::path& from, const fs::path& to) {
  const std::pair<std::string, std::string> words[] = {
      {".attn.indexer.compressor.norm.", ".self_attn.compressor.indexer.kv_norm."},
      {".attn.indexer.compressor.ape", ".self_attn.compressor.indexer.position_bias"},
      {".attn.indexer.compressor.", ".self_attn.compressor.indexer."},
      {".attn.indexer.weights_proj.", ".self_attn.compressor.indexer.scorer.weights_proj."},
      {".attn.indexer.", ".self_attn.compressor.indexer."},
      {".attn.compressor.norm.", ".self_attn.compressor.kv_norm."},
      {".attn.compressor.ape", ".self_attn.compressor.position_bias"},
      {".attn.attn_sink", ".self_attn.sinks"},
      {".attn.q_norm.", ".self_attn.q_a_norm."},
      {".attn.", ".self_attn."},
      {".ffn.gate.bias", ".mlp.gate.e_score_correction_bias"},
      {".ffn.shared_experts.w1.", ".mlp.shared_experts.gate_proj."},
      {".ffn.shared_experts.w2.", ".mlp.shared_experts.down_proj."},
      {".ffn.shared_experts.w3.", ".mlp.shared_experts.up_proj."},
      {".ffn.", ".mlp."},
      {".attn_norm.", ".input_layernorm."},
      {".ffn_norm.", ".post_attention_layernorm."},
      {".hc_attn_", ".attn_hc."},
      {".hc_ffn_", ".ffn_hc."},
      {".wq_a.", ".q_a_proj."},
      {".wq_b.", ".q_b_proj."},
      {".wkv.", ".kv_proj."},
      {".wgate.", ".gate_proj."},
      {".wo_a.", ".o_a_proj."},
      {".wo_b.", ".o_b_proj."},
  };
  const auto opened = checkpoint::Checkpoint::open(from).value();
  std::map<std::string, std::pair<checkpoint::TensorSpec, std::string>> made;
  const auto append = [&](const std::string& name, const checkpoint::Tensor& part, Shape shape) {
    auto& [spec, bytes] = made[name];
    spec = {name, part.dtype, shape};
    bytes.append(reinterpret_cast<const char*>(part.data.data()), part.data.size());
  };
  const Config config = load_config(from).value();
  for (const auto& tensor : opened.tensors()) {
    std::string name = tensor.name;
    if (name.starts_with("mtp.")) continue;  // transformers has none
    if (name.find(".experts.") != name.npos) continue;
    for (const auto& [published, transformers] : words)
      if (const size_t at = name.find(published); at != name.npos)
        name.replace(at, published.size(), transformers);
    if (name == "embed.weight") name = "embed_tokens.weight";
    if (name.starts_with("hc_head_")) name = "hc_head.hc_" + name.substr(8);
    append(name == "head.weight" ? "lm_head.weight" : "model." + name, tensor, tensor.shape);
  }
  for (size_t l = 0; l < config.layers.size(); ++l)
    for (int64_t e = 0; e < config.experts; ++e)
      for (const char* matrix : {"w1", "w3", "w2"}) {
        const auto& part =
            *opened.find(fmt::format("layers.{}.ffn.experts.{}.{}.weight", l, e, matrix));
        const bool down = matrix[1] == '2';
        append(
            fmt::format("model.layers.{}.mlp.experts.{}", l, down ? "down_proj" : "gate_up_proj"),
            part, {config.experts, part.shape[0] * (down ? 1 : 2), part.shape[1]});
      }
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto& [name, tensor] : made) specs.push_back(tensor.first);
  auto writer = checkpoint::SafetensorsWriter::create(to / "model.safetensors", specs).value();
  for (const auto& [name, tensor] : made)
    ASSERT_OK(writer.write(name, std::as_bytes(std::span(tensor.second))));
  ASSERT_OK(writer.finish());
  nlohmann::json json = nlohmann::json::parse(read_file(from / "config.json"));
  json["num_nextn_predict_layers"] = 0;
  write_file(to / "config.json", json.dump());
}

TEST_F(ConvertTest, ReadsTheNamesOfTransformers) {
  converted({.form = WeightForm::bf16});
  const fs::path theirs = folder_ / "theirs", ours = folder_ / "ours";
  fs::create_directories(theirs);
  write_transformers(out(), theirs);
  ASSERT_OK(convert(plan({.form = WeightForm::native}, theirs), ours, 2, kNoProgress));
  const auto a = checkpoint::Checkpoint::open(out()), b = checkpoint::Checkpoint::open(ours);
  ASSERT_OK(b);
  size_t compared = 0;
  for (const auto& tensor : a->tensors()) {
    if (tensor.name.starts_with("mtp.")) continue;
    const auto* found = b->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(found->data, tensor.data)) << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, b->tensors().size());
}

TEST_F(ConvertTest, RefusesADamagedSource) {
  const fs::path bad = folder_ / "bad";
  fs::copy(source(), bad, fs::copy_options::recursive);
  nlohmann::json config = nlohmann::json::parse(read_file(bad / "config.json"));
  config["expert_dtype"] = "fp8";
  write_file(bad / "config.json", config.dump());
  const auto refused = plan_conversion(bad, {.form = WeightForm::bf16});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::corrupt);
  EXPECT_ERROR(invalid_argument, "layers 0 to 99 are wanted, the model has 0 to 5",
               plan_conversion(source(), {.layers = LayerRange{0, 99}}));
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
