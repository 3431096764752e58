// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/json_value.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

namespace tessera::text {
namespace {

using Json = nlohmann::json;
using Kind = JsonValue::Kind;

/// Python's repr of a float.
std::string print_float(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

/// Builds the tree from the parser's events. Positions in the tree are a path of indices, since
/// vectors move.
class TreeBuilder : public nlohmann::json_sax<Json> {
 public:
  JsonValue take() { return std::move(root_); }
  const std::string& error() const { return error_; }

  bool null() override { return add(JsonValue()); }
  bool boolean(bool value) override { return add(JsonValue(Kind::boolean, {}, value)); }
  bool number_integer(number_integer_t value) override {
    return add_number(fmt::format("{}", value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return add_number(fmt::format("{}", value));
  }
  bool number_float(number_float_t value, const string_t& source) override {
    // An integer that fits no machine type arrives here as well; its digits are in `source`.
    const bool integer = source.find_first_of(".eE") == std::string::npos;
    return add_number(integer ? source : print_float(value));
  }
  bool string(string_t& value) override { return add(JsonValue(Kind::string, std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Kind::object); }
  bool start_array(size_t) override { return open(Kind::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    if (error_.empty()) error_ = fmt::format("not valid JSON at byte {}", position);
    return false;
  }

 private:
  bool add_number(std::string text) { return add(JsonValue(Kind::number, std::move(text))); }

  bool open(Kind kind) {
    if (path_.size() >= JsonValue::kDeepest) {
      error_ = fmt::format("JSON nested more than {} deep", JsonValue::kDeepest);
      return false;
    }
    path_.push_back(place(JsonValue(kind)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    path_.pop_back();
    keys_.pop_back();
    return true;
  }
  bool add(JsonValue value) {
    place(std::move(value));
    return true;
  }

  JsonValue& current() {
    JsonValue* value = &root_;
    for (size_t depth = 1; depth < path_.size(); ++depth)
      value = &value->members[path_[depth]].value;
    return *value;
  }
  /// Puts `value` into the innermost open value and says where.
  size_t place(JsonValue value) {
    if (path_.empty()) {
      root_ = std::move(value);
      return 0;
    }
    JsonValue& parent = current();
    if (parent.is(Kind::object)) {
      const auto [same, is_new] = keys_.back().emplace(key_, parent.members.size());
      if (!is_new) {
        parent.members[same->second].value = std::move(value);
        return same->second;
      }
    }
    parent.members.push_back(
        {parent.is(Kind::object) ? std::move(key_) : std::string(), std::move(value)});
    return parent.members.size() - 1;
  }

  JsonValue root_;
  std::vector<size_t> path_;  // of open values; the first is the root
  std::vector<std::unordered_map<std::string, size_t>> keys_;  // of open values: their places
  std::string key_;
  std::string error_;
};

void dump_to(const JsonValue& value, std::string& out) {
  switch (value.kind) {
    case Kind::null: out += "null"; return;
    case Kind::boolean: out += value.boolean ? "true" : "false"; return;
    case Kind::number: out += value.text; return;
    case Kind::string: out += json_quote(value.text); return;
    case Kind::array:
    case Kind::object: break;
  }
  const bool object = value.is(Kind::object);
  out += object ? '{' : '[';
  bool first = true;
  for (const auto& [key, member] : value.members) {
    if (!first) out += ", ";
    first = false;
    if (object) out += json_quote(key) + ": ";
    dump_to(member, out);
  }
  out += object ? '}' : ']';
}

}  // namespace

JsonValue::JsonValue() = default;
JsonValue::JsonValue(Kind kind_, std::string text_, bool boolean_)
    : kind(kind_), boolean(boolean_), text(std::move(text_)) {}
JsonValue::JsonValue(JsonValue&&) noexcept = default;
JsonValue& JsonValue::operator=(JsonValue&&) noexcept = default;
JsonValue::~JsonValue() = default;

Result<JsonValue> JsonValue::parse(std::string_view json) {
  TreeBuilder builder;
  if (!Json::sax_parse(json, &builder))
    return invalid_argument(builder.error().empty() ? "not valid JSON" : builder.error());
  return builder.take();
}

const JsonValue* JsonValue::find(std::string_view key) const {
  if (!is(Kind::object)) return nullptr;
  const auto found = std::ranges::find(members, key, &JsonMember::key);
  return found == members.end() || found->value.is(Kind::null) ? nullptr : &found->value;
}

std::string JsonValue::dump() const {
  std::string out;
  dump_to(*this, out);
  return out;
}

std::string json_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

std::string_view describe(Kind kind) {
  switch (kind) {
    case Kind::null: return "null";
    case Kind::boolean: return "true or false";
    case Kind::number: return "a number";
    case Kind::string: return "text";
    case Kind::array: return "a list";
    case Kind::object: return "an object";
  }
  return "unknown";
}

}  // namespace tessera::text
