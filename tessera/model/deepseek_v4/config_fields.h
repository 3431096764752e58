// SPDX-License-Identifier: Apache-2.0
// Typed access to the fields of a config that may go by several names. Problems are collected, so
// that a user sees all of them at once.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::model::deepseek_v4 {

class ConfigFields {
 public:
  using Names = std::initializer_list<std::string_view>;
  struct Range {
    int64_t least, most;
  };

  /// `json` is an object and outlives this; so does `problems`.
  ConfigFields(const nlohmann::json& json, std::vector<std::string>& problems,
               std::string prefix = {})
      : json_(json), problems_(problems), prefix_(std::move(prefix)) {}

  /// The first of `names` that is present and not null. Two present with different values are a
  /// problem.
  const nlohmann::json* find(Names names) const;
  bool has(std::string_view name) const { return find({name}) != nullptr; }

  /// Without a fallback the field has to be there. A problem gives range.least.
  int64_t integer(Names names, Range range, std::optional<int64_t> fallback = {}) const;
  double number(Names names, double least, std::optional<double> fallback = {}) const;
  std::vector<int64_t> integers(Names names, Range range) const;
  std::vector<std::string> texts(Names names) const;

  /// Where a field is present it has to have the only value that is supported.
  void only(Names names, const nlohmann::json& value) const;

  /// The fields of an object inside; nullopt when there is none.
  std::optional<ConfigFields> object(Names names) const;

  void problem(std::string text) const { problems_.push_back(prefix_ + std::move(text)); }
  size_t problems() const { return problems_.size(); }

 private:
  void missing(Names names) const;

  const nlohmann::json& json_;
  std::vector<std::string>& problems_;
  std::string prefix_;  // "rope_scaling."
};

}  // namespace tessera::model::deepseek_v4
