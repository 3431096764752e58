// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/random_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "tessera/base/mapped_file.h"
#include "tests/reference_model/config.h"
#include "tests/reference_model/random_tensor.h"

namespace tessera::reference_model {
namespace {

double one_over_root(int64_t count) { return 1 / std::sqrt(static_cast<double>(count)); }
int64_t blocks(int64_t count, int64_t block) { return (count + block - 1) / block; }

/// The tensors of one shard, by the official names. A plain linear keeps the size of its input.
class Shard {
 public:
  explicit Shard(const Config& config) : c_(config) {}

  std::vector<RandomTensor> take() { return std::move(tensors_); }

  void number(const std::string& name, const char* dtype, std::vector<int64_t> shape,
              double deviation, double mean = 0) {
    tensors_.push_back({.name = name,
                        .dtype = dtype,
                        .shape = std::move(shape),
                        .mean = mean,
                        .deviation = deviation});
  }
  void norm(const std::string& name, int64_t width) {
    number(name + ".weight", "BF16", {width}, 0.1, 1);
  }
  void bf16_linear(const std::string& name, int64_t rows, int64_t cols) {
    number(name + ".weight", "BF16", {rows, cols}, one_over_root(cols));
  }
  void quantised(const std::string& name, int64_t rows, int64_t cols, bool fp4, double gain) {
    const double deviation = gain * one_over_root(cols);
    tensors_.push_back({.name = name + ".weight",
                        .dtype = fp4 ? "I8" : "F8_E4M3",
                        .shape = {rows, fp4 ? cols / 2 : cols},
                        .fill = RandomTensor::Fill::code,
                        .deviation = deviation,
                        .fp4 = fp4});
    tensors_.push_back({.name = name + ".scale",
                        .dtype = "F8_E8M0",
                        .shape = {fp4 ? rows : blocks(rows, 128), blocks(cols, fp4 ? 32 : 128)},
                        .fill = RandomTensor::Fill::scale,
                        .deviation = deviation,
                        .fp4 = fp4});
  }
  void fp8_linear(const std::string& name, int64_t rows, int64_t cols) {
    quantised(name, rows, cols, false, 1);
  }

  /// Gates reach the clamp now and then; w2 brings the product back to the size of its input.
  void expert(const std::string& prefix, bool fp4) {
    quantised(prefix + "w1", c_.moe_intermediate_size, c_.hidden_size, fp4, 4);
    quantised(prefix + "w3", c_.moe_intermediate_size, c_.hidden_size, fp4, 4);
    quantised(prefix + "w2", c_.hidden_size, c_.moe_intermediate_size, fp4, 0.1);
  }

  void compressor(const std::string& prefix, int64_t ratio, int64_t head_dim) {
    const int64_t width = ratio == 4 ? 2 * head_dim : head_dim;
    number(prefix + "ape", "F32", {ratio, width}, 0.5);
    bf16_linear(prefix + "wkv", width, c_.hidden_size);
    bf16_linear(prefix + "wgate", width, c_.hidden_size);
    norm(prefix + "norm", head_dim);
  }

  void attention(const std::string& prefix, int64_t ratio) {
    const int64_t q_width = c_.num_attention_heads * c_.head_dim;
    const int64_t o_width = c_.o_groups * c_.o_lora_rank;
    number(prefix + "attn_sink", "F32", {c_.num_attention_heads}, 1);
    fp8_linear(prefix + "wq_a", c_.q_lora_rank, c_.hidden_size);
    norm(prefix + "q_norm", c_.q_lora_rank);
    fp8_linear(prefix + "wq_b", q_width, c_.q_lora_rank);
    fp8_linear(prefix + "wkv", c_.head_dim, c_.hidden_size);
    norm(prefix + "kv_norm", c_.head_dim);
    fp8_linear(prefix + "wo_a", o_width, q_width / c_.o_groups);
    fp8_linear(prefix + "wo_b", c_.hidden_size, o_width);
    if (ratio != 0) compressor(prefix + "compressor.", ratio, c_.head_dim);
    if (ratio != 4) return;
    const std::string indexer = prefix + "indexer.";
    fp8_linear(indexer + "wq_b", c_.index_n_heads * c_.index_head_dim, c_.q_lora_rank);
    bf16_linear(indexer + "weights_proj", c_.index_n_heads, c_.hidden_size);
    compressor(indexer + "compressor.", ratio, c_.index_head_dim);
  }

  void hyper_connection(const std::string& name, int64_t outputs, int64_t scales) {
    const int64_t width = c_.hc_mult * c_.hidden_size;
    number(name + "_fn", "F32", {outputs, width}, one_over_root(width));
    number(name + "_base", "F32", {outputs}, 0.5);
    number(name + "_scale", "F32", {scales}, 0.1, 1);
  }
  void head_mix(const std::string& prefix) { hyper_connection(prefix + "hc_head", c_.hc_mult, 1); }

  void layer(const std::string& prefix, int64_t ratio, bool hash_routed) {
    attention(prefix + "attn.", ratio);
    norm(prefix + "attn_norm", c_.hidden_size);
    norm(prefix + "ffn_norm", c_.hidden_size);
    for (const char* name : {"hc_attn", "hc_ffn"})
      hyper_connection(prefix + name, (2 + c_.hc_mult) * c_.hc_mult, 3);
    const std::string ffn = prefix + "ffn.";
    bf16_linear(ffn + "gate", c_.n_routed_experts, c_.hidden_size);
    if (hash_routed)
      tensors_.push_back({.name = ffn + "gate.tid2eid",
                          .dtype = "I64",
                          .shape = {c_.vocab_size, c_.num_experts_per_tok},
                          .fill = RandomTensor::Fill::choice,
                          .below = c_.n_routed_experts});
    else
      number(ffn + "gate.bias", "F32", {c_.n_routed_experts}, 0.1);
    for (int64_t e = 0; e < c_.n_routed_experts; ++e)
      expert(fmt::format("{}experts.{}.", ffn, e), !c_.fp8_experts);
    expert(ffn + "shared_experts.", false);
  }

 private:
  const Config& c_;
  std::vector<RandomTensor> tensors_;
};

std::vector<std::vector<RandomTensor>> plan_shards(const Config& c) {
  std::vector<std::vector<RandomTensor>> shards;
  Shard shard(c);
  shard.number("embed.weight", "BF16", {c.vocab_size, c.hidden_size}, 1);
  shards.push_back(shard.take());
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    shard.layer(fmt::format("layers.{}.", i), c.compress_ratios[i], i < c.num_hash_layers);
    shards.push_back(shard.take());
  }
  shard.norm("norm", c.hidden_size);
  shard.bf16_linear("head", c.vocab_size, c.hidden_size);
  shard.head_mix("");
  shards.push_back(shard.take());
  if (c.num_nextn_predict_layers > 0) {
    shard.layer("mtp.0.", 0, false);
    for (const char* name : {"enorm", "hnorm", "norm"})
      shard.norm(fmt::format("mtp.0.{}", name), c.hidden_size);
    for (const char* name : {"e_proj", "h_proj"})
      shard.fp8_linear(fmt::format("mtp.0.{}", name), c.hidden_size, c.hidden_size);
    shard.head_mix("mtp.0.");
    shards.push_back(shard.take());
  }
  return shards;
}

int alignment(const RandomTensor& tensor) {
  return tensor.dtype == "I64" ? 8 : tensor.dtype == "F32" ? 4 : tensor.dtype == "BF16" ? 2 : 1;
}

/// Wide types first, as the official writer does it, so that everything is aligned to its size.
Result<> write_shard(std::vector<RandomTensor> tensors, const std::filesystem::path& path,
                     uint64_t seed) {
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const auto& a, const auto& b) { return alignment(a) > alignment(b); });
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  int64_t offset = 0;
  for (const RandomTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t size = text.size();
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&size), sizeof size);
  file << text;
  for (const RandomTensor& tensor : tensors)
    for (int64_t row = 0; row < tensor.rows(); ++row) {
      const auto bytes = tensor.make_row(seed, row);
      file.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
    }
  file.flush();
  if (!file) return io_error(fmt::format("writing {}", path.string()));
  return {};
}

}  // namespace

nlohmann::json small_config() {
  return nlohmann::json::parse(R"({
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
    "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1,
    "expert_dtype": "fp4", "hidden_act": "silu", "initializer_range": 0.02,
    "max_position_embeddings": 1048576, "norm_topk_prob": true, "scoring_func": "sqrtsoftplus",
    "topk_method": "noaux_tc", "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
    "vocab_size": 256, "hidden_size": 256, "num_hidden_layers": 6, "num_hash_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 192, "qk_rope_head_dim": 64,
    "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 128, "sliding_window": 16,
    "compress_ratios": [0, 4, 128, 0, 4, 128, 0],
    "index_n_heads": 2, "index_head_dim": 128, "index_topk": 8,
    "moe_intermediate_size": 128, "n_routed_experts": 8, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "routed_scaling_factor": 1.5, "swiglu_limit": 10.0,
    "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "rms_norm_eps": 1e-6,
    "num_nextn_predict_layers": 1, "rope_theta": 10000, "compress_rope_theta": 160000,
    "rope_scaling": {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1,
                     "original_max_position_embeddings": 64}
  })");
}

Result<> write_random_checkpoint(const nlohmann::json& config, const std::filesystem::path& folder,
                                 uint64_t seed) {
  TESSERA_ASSIGN(const Config sizes, parse_config(config));
  const auto shards = plan_shards(sizes);
  nlohmann::json weight_map;
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    for (const RandomTensor& tensor : shards[i]) {
      weight_map[tensor.name] = name;
      total += tensor.bytes();
    }
    TESSERA_TRY(write_shard(shards[i], folder / name, seed));
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  TESSERA_TRY(write_file_atomic(folder / "model.safetensors.index.json", index.dump(1)));
  return write_file_atomic(folder / "config.json", config.dump(1));
}

}  // namespace tessera::reference_model
