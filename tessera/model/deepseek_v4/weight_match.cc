// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/weight_match.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "tessera/checkpoint/safetensors_header.h"

namespace tessera::model::deepseek_v4 {
namespace {

using checkpoint::Checkpoint;
using checkpoint::Tensor;
using Fault = WeightMatch::Fault;

/// One above the largest N of the names "mtp.N.", however many are missing below.
int64_t count_draft_layers(const Checkpoint& checkpoint) {
  constexpr std::string_view kPrefix = "mtp.";
  constexpr int64_t kMost = 1000;  // a larger number is a name of somebody else's
  int64_t count = 0;
  for (const Tensor& tensor : checkpoint.tensors()) {
    const std::string_view name = tensor.name;
    if (!name.starts_with(kPrefix)) continue;
    int64_t number = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, number);
    if (error == std::errc() && stop != end && *stop == '.' && number >= 0 && number < kMost)
      count = std::max(count, number + 1);
  }
  return count;
}

std::string form(DType dtype, const Shape& shape) {
  return fmt::format("{} {}", checkpoint::safetensors_name(dtype), shape.to_string());
}

}  // namespace

int64_t WeightMatch::count(Fault fault) const {
  return std::ranges::count(problems, fault, &Problem::fault);
}

Result<> WeightMatch::check(Part part) const {
  static constexpr std::array<std::string_view, 3> kWords = {"missing", "misshapen",
                                                             "of a wrong dtype"};
  const bool with_draft = part == Part::trunk_and_draft;
  if (with_draft && draft_layers == 0)
    return corrupt("the checkpoint has no block for multi-token prediction (mtp.0)");
  std::string text;
  for (const Fault fault : {Fault::missing, Fault::misshapen, Fault::wrong_dtype}) {
    const auto is_one = [&](const Problem& p) {
      return p.fault == fault && (with_draft || !p.is_draft);
    };
    const auto found = std::ranges::count_if(problems, is_one);
    if (found == 0) continue;
    const Problem& first = *std::ranges::find_if(problems, is_one);
    text += fmt::format("{}{} tensor{} {}: {} ({}){}", text.empty() ? "" : "; ", found,
                        found == 1 ? " is" : "s are", kWords[static_cast<size_t>(fault)],
                        first.name, first.detail, found > 1 ? ", .." : "");
  }
  if (text.empty()) return {};
  return corrupt(std::move(text));
}

WeightMatch match_weights(const Checkpoint& checkpoint, const Config& config,
                          const Shards& shards) {
  WeightMatch match;
  const int64_t found = count_draft_layers(checkpoint);
  match.draft_layers = found == 0 ? 0 : std::max(found, config.draft_layers);
  match.weights = expand_weights(config, match.draft_layers);
  const auto all = checkpoint.tensors();
  std::vector<bool> expected(all.size());
  for (const WeightSpec& spec : match.weights) {
    const auto report = [&](Fault fault, std::string detail) {
      match.problems.push_back({fault, spec.name, std::move(detail), spec.is_draft});
    };
    const Tensor* tensor = checkpoint.find(spec.name);
    if (tensor == nullptr) {
      if (!shards.is_elsewhere(spec.name)) report(Fault::missing, form(spec.dtype, spec.shape));
      continue;
    }
    expected[static_cast<size_t>(tensor - all.data())] = true;
    if (tensor->dtype != spec.dtype || tensor->shape != spec.shape) {
      report(tensor->dtype == spec.dtype ? Fault::misshapen : Fault::wrong_dtype,
             fmt::format("{}, expected {}", form(tensor->dtype, tensor->shape),
                         form(spec.dtype, spec.shape)));
      continue;
    }
    auto& amount = (spec.is_draft ? match.draft : match.trunk)[static_cast<size_t>(spec.kind)];
    ++amount.tensors;
    amount.bytes += tensor->data.size();
  }
  for (size_t i = 0; i < all.size(); ++i)
    if (!expected[i])
      match.problems.push_back({Fault::surplus, all[i].name, form(all[i].dtype, all[i].shape)});
  return match;
}

}  // namespace tessera::model::deepseek_v4
