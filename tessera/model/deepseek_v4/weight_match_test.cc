// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/weight_match.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/reference_data.h"
#include "tessera/base/testing/temporary_folder.h"
#include "tessera/checkpoint/safetensors_writer.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"

namespace tessera::model::deepseek_v4 {
namespace {

using checkpoint::Checkpoint;
using checkpoint::SafetensorsWriter;
using checkpoint::TensorSpec;
using Fault = WeightMatch::Fault;
using Part = WeightMatch::Part;

class WeightMatchTest : public ::testing::Test {
 protected:
  WeightMatchTest() {
    for (const WeightSpec& weight : expand_weights(config_, 1))
      tensors_.push_back({weight.name, weight.dtype, weight.shape});
  }
  TensorSpec& tensor(std::string_view name) {
    return *std::ranges::find(tensors_, name, &TensorSpec::name);
  }
  void remove(std::string_view part) {
    std::erase_if(tensors_, [&](const TensorSpec& t) { return t.name.find(part) != t.name.npos; });
  }
  WeightMatch match() {
    auto writer = SafetensorsWriter::create(folder_ / "model.safetensors", tensors_).value();
    for (const TensorSpec& tensor : tensors_) {
      const std::vector<std::byte> zeros(
          static_cast<size_t>(size_in_bytes(tensor.dtype, tensor.shape.numel())));
      EXPECT_TRUE(writer.write(tensor.name, zeros).ok());
    }
    EXPECT_TRUE(writer.finish().ok());
    return match_weights(Checkpoint::open(folder_.path()).value(), config_);
  }

  TemporaryFolder folder_;
  Config config_ = parse_config(sample_config().dump()).value();
  std::vector<TensorSpec> tensors_;
};

TEST_F(WeightMatchTest, ACompleteCheckpointHasNoProblems) {
  const WeightMatch whole = match();
  EXPECT_TRUE(whole.problems.empty());
  EXPECT_TRUE(whole.check(Part::trunk).ok());
  EXPECT_EQ(whole.draft_layers, 1);
  const auto& experts = whole.trunk[static_cast<size_t>(WeightKind::routed_expert)];
  EXPECT_EQ(experts.tensors, 4 * 6 * 3 * 2);
  EXPECT_EQ(experts.bytes, 4u * 6 * 3 * (96 * 64 / 2 + 96 * 64 / 32));
  EXPECT_EQ(whole.draft[static_cast<size_t>(WeightKind::draft)].tensors, 10);
}

TEST_F(WeightMatchTest, ADraftHeadMayBeAbsent) {
  remove("mtp.");
  const WeightMatch trunk = match();
  EXPECT_TRUE(trunk.problems.empty());
  EXPECT_EQ(trunk.draft_layers, 0);
  EXPECT_EQ(trunk.check(Part::trunk_and_draft).error().message,
            "the checkpoint has no block for multi-token prediction (mtp.0)");
}

TEST_F(WeightMatchTest, WhatIsWrongIsListed) {
  remove("layers.2.attn.wkv");
  remove("mtp.0.enorm");
  tensor("layers.1.ffn.gate.bias").shape = {7};
  tensor("norm.weight").dtype = DType::f32;
  tensors_.push_back({"layers.4.extra", DType::i8, {1}});
  const WeightMatch damaged = match();
  ASSERT_EQ(damaged.problems.size(), 6u);
  EXPECT_EQ(damaged.count(Fault::missing), 3);
  EXPECT_EQ(damaged.count(Fault::misshapen), 1);
  EXPECT_EQ(damaged.count(Fault::wrong_dtype), 1);
  EXPECT_EQ(damaged.count(Fault::surplus), 1);
  EXPECT_EQ(damaged.problems.back().name, "layers.4.extra");
  EXPECT_EQ(damaged.check(Part::trunk).error().message,
            "2 tensors are missing: layers.2.attn.wkv.weight (F8_E4M3 [32, 64]), ..; 1 tensor is "
            "misshapen: layers.1.ffn.gate.bias (F32 [7], expected F32 [6]); 1 tensor is of a wrong "
            "dtype: norm.weight (F32 [64], expected BF16 [64])");
  EXPECT_TRUE(damaged.check(Part::trunk_and_draft).error().message.starts_with("3 tensors are "));
}

TEST_F(WeightMatchTest, ADamagedDraftHeadLeavesTheTrunk) {
  remove("mtp.0.enorm");
  const WeightMatch damaged = match();
  ASSERT_EQ(damaged.problems.size(), 1u);
  EXPECT_TRUE(damaged.problems[0].is_draft);
  EXPECT_TRUE(damaged.check(Part::trunk).ok());
  EXPECT_EQ(damaged.check(Part::trunk_and_draft).error().message,
            "1 tensor is missing: mtp.0.enorm.weight (BF16 [64])");
}

TEST_F(WeightMatchTest, ForeignNamesAreSurplus) {
  tensors_.push_back({"mtp.99999999999999999999.x", DType::i8, {1}});
  tensors_.push_back({"mtp.4000.x", DType::i8, {1}});
  tensors_.push_back({"mtp.x", DType::i8, {1}});
  EXPECT_EQ(match().count(Fault::surplus), 3);
}

TEST(WeightMatch, TheNanoCheckpointIsComplete) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const auto folder = reference_folder() / "goldens/flash-nano";
  const WeightMatch nano =
      match_weights(Checkpoint::open(folder).value(), load_config(folder).value());
  EXPECT_TRUE(nano.problems.empty()) << nano.problems[0].name;
  EXPECT_EQ(nano.draft_layers, 1);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
