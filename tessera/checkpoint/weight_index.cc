// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/weight_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "tessera/checkpoint/json_events.h"

namespace tessera::checkpoint {
namespace {

/// Follows the events of one index.
class IndexReader : public JsonEvents {
 public:
  WeightIndex index;
  bool has_weight_map = false;

  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("true or false"); }
  bool number_integer(number_integer_t value) override { return scalar(fmt::format("{}", value)); }
  bool number_float(number_float_t, const string_t& text) override { return scalar(text); }
  bool number_unsigned(number_unsigned_t value) override {
    if (at({"metadata", "total_size"})) index.total_size = value;
    return scalar(fmt::format("{}", value));
  }
  bool string(string_t& text) override {
    if (!in_weight_map()) return scalar("text");
    if (text.empty() || text == "." || text == ".." || text.find('/') != text.npos ||
        text.find('\0') != text.npos)
      return refuse(fmt::format(
          "tensor \"{}\" is said to be in \"{}\", which is not a file name beside the index",
          keys_.back(), text));
    const auto [file, added] = files_.try_emplace(text, static_cast<int>(index.files.size()));
    if (added) index.files.push_back(text);
    index.weights.push_back({keys_.back(), file->second});
    return true;
  }
  bool start_object(std::size_t) override {
    if (in_weight_map()) return scalar("an object");
    if (keys_.size() == 1 && keys_[0] == "weight_map" && std::exchange(has_weight_map, true))
      return refuse("weight_map appears twice");
    return open_level();
  }
  bool key(string_t& key) override {
    keys_.back() = std::move(key);
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override { return is_needed() ? scalar("a list") : open_level(); }
  bool end_array() override {
    keys_.pop_back();
    return true;
  }

 protected:
  std::string place() const override {
    if (keys_.empty()) return "the index";
    return in_weight_map() ? fmt::format("the file of tensor \"{}\"", keys_.back()) : keys_[0];
  }

 private:
  bool at(std::initializer_list<std::string_view> path) const {
    return std::ranges::equal(keys_, path);
  }
  bool in_weight_map() const { return keys_.size() == 2 && keys_[0] == "weight_map"; }
  /// Something of ours has to be here: the index, weight_map, or a file name.
  bool is_needed() const {
    return keys_.empty() || in_weight_map() || (keys_.size() == 1 && keys_[0] == "weight_map");
  }
  /// A value that means nothing to us.
  bool scalar(std::string_view what) { return is_needed() ? unexpected(what) : true; }
  bool open_level() {
    constexpr size_t kDeepest = 64;
    if (keys_.size() == kDeepest) return refuse(fmt::format("nested {} levels deep", kDeepest + 1));
    keys_.emplace_back();
    return true;
  }

  std::vector<std::string> keys_;  // the way to the current value; "" in lists
  std::unordered_map<std::string, int> files_;
};

/// Sorts the files by name and renumbers the weights.
void sort_files(WeightIndex& index) {
  std::vector<int> order(index.files.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](int i) -> const std::string& { return index.files[i]; });
  std::vector<int> place(order.size());
  std::vector<std::string> sorted;
  for (size_t i = 0; i < order.size(); ++i) {
    place[order[i]] = static_cast<int>(i);
    sorted.push_back(std::move(index.files[order[i]]));
  }
  index.files = std::move(sorted);
  for (WeightIndex::Weight& weight : index.weights) weight.file = place[weight.file];
}

}  // namespace

Result<WeightIndex> WeightIndex::parse(std::string_view json) {
  IndexReader reader;
  TESSERA_TRY(reader.read(json));
  if (!reader.has_weight_map) return corrupt("there is no weight_map");
  WeightIndex index = std::move(reader.index);
  sort_files(index);
  std::ranges::sort(index.weights, {}, &Weight::name);
  const auto twice = std::ranges::adjacent_find(index.weights, {}, &Weight::name);
  if (twice != index.weights.end())
    return corrupt(fmt::format("tensor \"{}\" appears twice", twice->name));
  return index;
}

std::string WeightIndex::print() const {
  nlohmann::ordered_json json = {{"metadata", nlohmann::ordered_json::object()}};
  if (total_size) json["metadata"]["total_size"] = *total_size;
  std::map<std::string, std::string_view> map;
  for (const Weight& weight : weights) map.emplace(weight.name, files[weight.file]);
  json["weight_map"] = map;
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace tessera::checkpoint
