// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/tensor_names.h"

#include <algorithm>

#include "tessera/base/testing/expect_result.h"
#include "tessera/base/testing/temporary_folder.h"
#include "tessera/checkpoint/safetensors_writer.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"
#include "tessera/model/deepseek_v4/weight_table.h"

namespace tessera::model::deepseek_v4 {
namespace {

using checkpoint::Tensor;

TEST(TensorNames, TransformersNamesAreRead) {
  const std::pair<const char*, const char*> names[] = {
      {"model.embed_tokens.weight", "embed.weight"},
      {"lm_head.weight", "head.weight"},
      {"model.norm.weight", "norm.weight"},
      {"model.hc_head.hc_fn", "hc_head_fn"},
      {"model.layers.12.input_layernorm.weight", "layers.12.attn_norm.weight"},
      {"layers.12.post_attention_layernorm.weight", "layers.12.ffn_norm.weight"},
      {"model.layers.0.attn_hc.fn", "layers.0.hc_attn_fn"},
      {"model.layers.0.ffn_hc.scale", "layers.0.hc_ffn_scale"},
      {"model.layers.3.self_attn.sinks", "layers.3.attn.attn_sink"},
      {"model.layers.3.self_attn.q_a_proj.weight", "layers.3.attn.wq_a.weight"},
      {"model.layers.3.self_attn.q_a_proj.weight_scale_inv", "layers.3.attn.wq_a.scale"},
      {"model.layers.3.self_attn.q_a_norm.weight", "layers.3.attn.q_norm.weight"},
      {"model.layers.3.self_attn.kv_norm.weight", "layers.3.attn.kv_norm.weight"},
      {"model.layers.3.self_attn.o_b_proj.weight", "layers.3.attn.wo_b.weight"},
      {"model.layers.3.self_attn.compressor.kv_proj.weight", "layers.3.attn.compressor.wkv.weight"},
      {"model.layers.3.self_attn.compressor.kv_norm.weight",
       "layers.3.attn.compressor.norm.weight"},
      {"model.layers.3.self_attn.compressor.position_bias", "layers.3.attn.compressor.ape"},
      {"model.layers.4.self_attn.compressor.indexer.q_b_proj.weight",
       "layers.4.attn.indexer.wq_b.weight"},
      {"model.layers.4.self_attn.compressor.indexer.scorer.weights_proj.weight",
       "layers.4.attn.indexer.weights_proj.weight"},
      {"model.layers.4.self_attn.compressor.indexer.gate_proj.weight",
       "layers.4.attn.indexer.compressor.wgate.weight"},
      {"model.layers.4.self_attn.compressor.indexer.kv_norm.weight",
       "layers.4.attn.indexer.compressor.norm.weight"},
      {"model.layers.4.mlp.gate.weight", "layers.4.ffn.gate.weight"},
      {"model.layers.4.mlp.gate.e_score_correction_bias", "layers.4.ffn.gate.bias"},
      {"model.layers.4.mlp.gate.tid2eid", "layers.4.ffn.gate.tid2eid"},
      {"model.layers.4.mlp.shared_experts.up_proj.weight", "layers.4.ffn.shared_experts.w3.weight"},
      {"model.layers.4.mlp.experts.17.down_proj.weight_scale_inv",
       "layers.4.ffn.experts.17.w2.scale"},
  };
  for (const auto& [transformers, published] : names)
    EXPECT_EQ(published_name(transformers), published);
}

TEST(TensorNames, PublishedNamesStay) {
  const Config config = parse_config(sample_config().dump()).value();
  for (const WeightSpec& weight : expand_weights(config, 1))
    EXPECT_EQ(published_name(weight.name), weight.name);
  for (const char* odd : {"", "model", "layers.", "layers.3", "layers.x.self_attn", "vision.a"})
    EXPECT_NO_FATAL_FAILURE(published_name(odd));
}

TEST(TensorNames, StacksBecomeSingleExperts) {
  std::vector<std::byte> data(2 * 4 * 3);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  const Tensor stack{"model.layers.1.mlp.experts.gate_up_proj", DType::i8, {2, 4, 3}, data, 5};
  const auto made = published_tensors(stack);
  ASSERT_EQ(made.size(), 4u);
  EXPECT_EQ(made[0].name, "layers.1.ffn.experts.0.w1.weight");
  EXPECT_EQ(made[1].name, "layers.1.ffn.experts.0.w3.weight");
  EXPECT_EQ(made[3].name, "layers.1.ffn.experts.1.w3.weight");
  EXPECT_EQ(made[3].shape, (Shape{2, 3}));
  EXPECT_EQ(made[3].data.data(), data.data() + 18);
  EXPECT_EQ(made[3].shard, 5);
  const auto down = published_tensors(
      {"layers.1.mlp.experts.down_proj_scale_inv", DType::i8, {2, 4, 3}, data, 0});
  ASSERT_EQ(down.size(), 2u);
  EXPECT_EQ(down[1].name, "layers.1.ffn.experts.1.w2.scale");
  EXPECT_EQ(down[1].shape, (Shape{4, 3}));
}

TEST(TensorNames, TwoOfOneNameAreRefused) {
  TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  const checkpoint::TensorSpec specs[] = {{"norm.weight", DType::u8, {1}},
                                          {"model.norm.weight", DType::u8, {1}}};
  auto writer = checkpoint::SafetensorsWriter::create(path, specs);
  ASSERT_OK(writer);
  const std::byte data[1] = {};
  for (const auto& spec : specs) ASSERT_OK(writer->write(spec.name, data));
  ASSERT_OK(writer->finish());
  EXPECT_ERROR(corrupt, "two tensors are norm.weight", open_checkpoint(folder.path()));
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
