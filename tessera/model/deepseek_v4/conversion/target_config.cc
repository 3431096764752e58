// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/conversion/target_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <vector>

#include "tessera/model/deepseek_v4/config.h"

namespace tessera::model::deepseek_v4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 4> kFormNames = {"native", "bf16", "fp8", "int8"};

/// Sets the name of a dialect that is there, else the first.
void set(Json& json, std::initializer_list<const char*> names, int64_t value) {
  for (const char* name : names)
    if (json.contains(name)) {
      json[name] = value;
      return;
    }
  json[*names.begin()] = value;
}

void keep(Json& json, const char* list, const LayerRange& layers) {
  if (!json.contains(list) || !json[list].is_array()) return;
  Json kept = Json::array();
  for (int64_t i = layers.first; i <= layers.last; ++i)
    if (i < std::ssize(json[list])) kept.push_back(json[list][static_cast<size_t>(i)]);
  json[list] = kept;
}

Result<> keep_layers(Json& json, const Config& config, const LayerRange& layers) {
  const auto count = std::ssize(config.layers);
  if (layers.last >= count)
    return invalid_argument(fmt::format("layers {} to {} are wanted, the model has 0 to {}",
                                        layers.first, layers.last, count - 1));
  set(json, {"num_hidden_layers", "n_layers"}, layers.count());
  for (const char* list : {"compress_ratios", "layer_types", "mlp_layer_types"})
    keep(json, list, layers);
  // They are the first of a model, so the first of any part of it.
  const auto begin = config.layers.begin() + layers.first;
  const auto hashed = std::count_if(begin, begin + layers.count(),
                                    [](const Config::Layer& layer) { return layer.hash_routed; });
  if (!json.contains("mlp_layer_types")) set(json, {"num_hash_layers", "n_hash_layers"}, hashed);
  set(json, {"num_nextn_predict_layers", "n_mtp_layers"}, 0);
  for (const char* field : {"dspark_block_size", "dspark_noise_token_id", "dspark_markov_rank",
                            "dspark_target_layer_ids"})
    json.erase(field);
  return {};
}

}  // namespace

std::string_view name(WeightForm form) { return kFormNames[static_cast<size_t>(form)]; }

std::optional<WeightForm> parse_weight_form(std::string_view text) {
  const auto found = std::ranges::find(kFormNames, text);
  if (found == kFormNames.end()) return std::nullopt;
  return static_cast<WeightForm>(found - kFormNames.begin());
}

Result<LayerRange> parse_layer_range(std::string_view text) {
  LayerRange range;
  const char* const end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, range.first);
  range.last = range.first;
  if (error == std::errc() && stop != end && *stop == '-') {
    const auto last = std::from_chars(stop + 1, end, range.last);
    stop = last.ptr;
    error = last.ec;
  }
  if (error != std::errc() || stop != end || range.first < 0 || range.last < range.first)
    return invalid_argument(
        fmt::format("layers are \"{}\", expected two numbers from 0 on as in 0-3, or one", text));
  return range;
}

Result<std::string> converted_config(std::string_view text, WeightForm form,
                                     std::optional<LayerRange> layers) {
  TESSERA_ASSIGN(const Config config, parse_config(text));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (form == WeightForm::bf16) {
    json.erase("quantization_config");
    json.erase("scale_fmt");
    if (json.contains("dtype") && json["dtype"] == "fp8") json["dtype"] = "bf16";
  }
  if (form != WeightForm::native) json["expert_dtype"] = name(form);
  if (layers) TESSERA_TRY(keep_layers(json, config, *layers));
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tessera::model::deepseek_v4
