// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/verification/golden.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/base/element.h"

namespace tessera::model::deepseek_v4 {

using checkpoint::Checkpoint;
using checkpoint::Tensor;

namespace {

constexpr std::string_view kPrefix = "prompt_", kIds = ".ids", kPrefill = ".native.prefill.h.";

/// The names of prompts: what stands before `suffix` in names of tensors.
std::vector<std::string> names_before(const Checkpoint& file, std::string_view suffix) {
  std::vector<std::string> names;
  for (const Tensor& tensor : file.tensors())
    if (tensor.name.starts_with(kPrefix) && tensor.name.ends_with(suffix) &&
        tensor.name.find('.') == tensor.name.size() - suffix.size())
      names.push_back(tensor.name.substr(0, tensor.name.size() - suffix.size()));
  return names;
}

/// "f32 [3, 512]"
std::string kind_text(const Tensor& tensor) {
  return fmt::format("{} {}", name(tensor.dtype), tensor.shape.to_string());
}

Result<const Tensor*> need(const Checkpoint& file, const std::string& name) {
  if (const Tensor* tensor = file.find(name)) return tensor;
  return not_found(fmt::format("no tensor \"{}\"", name));
}

Result<std::vector<int32_t>> read_ids(const Checkpoint& file, const std::string& name,
                                      const Config& config) {
  TESSERA_ASSIGN(const Tensor* const tensor, need(file, name));
  if (!is_int(tensor->dtype) || tensor->shape.rank() != 1 || tensor->shape[0] == 0)
    return corrupt(
        fmt::format("{} is {}, expected token ids: i32 [at least 1]", name, kind_text(*tensor)));
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tensor->shape[0]; ++i) {
    const int64_t id = load_as_int(tensor->dtype, tensor->data.data(), i);
    if (id < 0 || id >= config.vocab_size)
      return invalid_argument(fmt::format("{} has token {}; this model has a vocabulary of {}",
                                          name, id, config.vocab_size));
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

/// Logits of `least` to `most` rows; a vector is one row.
Result<Rows> read_logits(const Checkpoint& file, const std::string& name, const Config& config,
                         int64_t least, int64_t most) {
  TESSERA_ASSIGN(const Tensor* const tensor, need(file, name));
  const Shape& shape = tensor->shape;
  if (!is_float(tensor->dtype) || shape.rank() < 1 || shape.rank() > 2)
    return corrupt(fmt::format("{} is {}, expected logits: f32 [rows, {}]", name,
                               kind_text(*tensor), config.vocab_size));
  if (shape[-1] != config.vocab_size)
    return invalid_argument(fmt::format("{} is {}; this model has a vocabulary of {}", name,
                                        kind_text(*tensor), config.vocab_size));
  const int64_t rows = shape.rank() == 1 ? 1 : shape[0];
  if (rows < least || rows > most)
    return corrupt(fmt::format(
        "{} is {}, expected {} rows", name, kind_text(*tensor),
        least == most ? fmt::format("{}", most) : fmt::format("{} to {}", least, most)));
  return read_rows(*tensor, config.vocab_size);
}

Result<Prompt> read_prompt(const Checkpoint& file, const std::string& name, Numbers numbers,
                           const Config& config) {
  Prompt prompt;
  prompt.name = name;
  TESSERA_ASSIGN(prompt.ids, read_ids(file, name + std::string(kIds), config));
  TESSERA_ASSIGN(prompt.greedy_ids, read_ids(file, name + ".fp32.greedy_ids", config));
  if (prompt.positions() > config.max_positions)
    return invalid_argument(
        fmt::format("{} has {} tokens and {} decode steps; this model has {} positions", name,
                    prompt.length(), prompt.greedy_ids.size(), config.max_positions));
  const int64_t steps = std::ssize(prompt.greedy_ids);
  if (numbers == Numbers::fp32) {
    TESSERA_ASSIGN(prompt.logits,
                   read_logits(file, name + ".fp32.logits", config, 1, prompt.length()));
    TESSERA_ASSIGN(prompt.steps,
                   read_logits(file, name + ".fp32.greedy_logits", config, steps, steps));
    return prompt;
  }
  TESSERA_ASSIGN(prompt.logits, read_logits(file, name + ".native.last_logits", config, 1, 1));
  TESSERA_ASSIGN(prompt.steps,
                 read_logits(file, name + ".native.forced_logits", config, steps, steps));
  const std::string draft = name + ".native.mtp_last_logits";
  if (file.find(draft) == nullptr) return prompt;
  if (config.draft_layers == 0)
    return invalid_argument(
        fmt::format("{} is of a draft block (MTP), and this model has none", draft));
  TESSERA_ASSIGN(prompt.draft, read_logits(file, draft, config, 1, 1));
  return prompt;
}

/// The streams "`before`0" .. of one prefill or step, checked.
Result<std::vector<const Tensor*>> read_streams(const Checkpoint& file, const std::string& before,
                                                int64_t rows, const Config& config) {
  const Shape expected = {rows, Config::kStreams, config.hidden_size};
  std::vector<const Tensor*> streams;
  for (size_t i = 0; i <= config.layers.size(); ++i) {
    TESSERA_ASSIGN(streams.emplace_back(), need(file, fmt::format("{}{}", before, i)));
    if (!is_float(streams[i]->dtype) || streams[i]->shape != expected)
      return invalid_argument(fmt::format("{} is {}; this model's residual stream is bf16 {}",
                                          streams[i]->name, kind_text(*streams[i]),
                                          expected.to_string()));
  }
  const std::string surplus = fmt::format("{}{}", before, streams.size());
  if (file.find(surplus) != nullptr)
    return invalid_argument(
        fmt::format("there is {}; this model has {} layers", surplus, config.layers.size()));
  return streams;
}

}  // namespace

bool has_numbers(const Checkpoint& file, Numbers numbers) {
  const std::string_view suffix = numbers == Numbers::fp32 ? ".fp32.logits" : ".native.last_logits";
  return std::ranges::any_of(file.tensors(), [&](const Tensor& tensor) {
    return tensor.name.starts_with(kPrefix) && tensor.name.ends_with(suffix);
  });
}

Result<std::vector<Prompt>> read_prompts(const Checkpoint& file, Numbers numbers,
                                         const Config& config) {
  std::vector<Prompt> prompts;
  for (const std::string& name : names_before(file, kIds)) {
    TESSERA_ASSIGN(prompts.emplace_back(), read_prompt(file, name, numbers, config));
  }
  if (prompts.empty())
    return not_found("no prompt: tensors named prompt_L.ids hold the tokens of prompts");
  std::ranges::stable_sort(prompts, {}, &Prompt::length);
  return prompts;
}

Result<> read_traces(const Checkpoint& file, const Config& config, std::vector<Prompt>& prompts) {
  const auto traced = names_before(file, std::string(kPrefill) + "0");
  if (traced.empty())
    return not_found(
        "no residual stream: tensors named prompt_L.native.prefill.h.0, .1, .. hold those of each "
        "layer");
  for (const std::string& name : traced) {
    const auto prompt = std::ranges::find(prompts, name, &Prompt::name);
    if (prompt == prompts.end())
      return not_found(fmt::format("residual streams of {}, whose tokens are not given", name));
    TESSERA_ASSIGN(prompt->trace.prefill,
                   read_streams(file, name + std::string(kPrefill), prompt->length(), config));
    for (size_t j = 0; j < prompt->greedy_ids.size(); ++j) {
      const std::string before = fmt::format("{}.native.step{}.h.", name, j);
      if (file.find(before + "0") == nullptr) break;
      TESSERA_ASSIGN(prompt->trace.steps.emplace_back(), read_streams(file, before, 1, config));
    }
  }
  return {};
}

Rows read_rows(const Tensor& tensor, int64_t columns) {
  Rows rows(columns);
  const int64_t count = tensor.shape.numel();
  rows.values.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    rows.values.push_back(load_as_float(tensor.dtype, tensor.data.data(), i));
  return rows;
}

std::vector<Prompt> made_prompts(std::span<const int64_t> lengths, const Config& config) {
  std::vector<Prompt> prompts;
  uint64_t state = 1;
  for (const int64_t length : lengths) {
    Prompt& prompt = prompts.emplace_back();
    prompt.name = fmt::format("{}{}", kPrefix, length);
    for (int64_t i = 0; i < length; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
      prompt.ids.push_back(
          static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(config.vocab_size)));
    }
  }
  return prompts;
}

}  // namespace tessera::model::deepseek_v4
