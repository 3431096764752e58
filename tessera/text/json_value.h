// SPDX-License-Identifier: Apache-2.0
// JSON that keeps what the chat encoding shows to the model: the order of keys and the exact digits
// of integers of any size. Printed as Python's json.dumps(ensure_ascii=False) does, since the model
// was trained on that.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::text {

struct JsonMember;

struct JsonValue {
  enum class Kind { null, boolean, number, string, array, object };
  Kind kind = Kind::null;
  bool boolean = false;
  std::string text;                 // of a string; of a number as printed
  std::vector<JsonMember> members;  // of an object; of an array, without keys

  JsonValue();
  explicit JsonValue(Kind kind, std::string text = {}, bool boolean = false);
  JsonValue(JsonValue&&) noexcept;
  JsonValue& operator=(JsonValue&&) noexcept;
  ~JsonValue();

  static constexpr int kDeepest = 256;

  /// Errors: invalid_argument with the byte where it stops being JSON; nesting above kDeepest. Of
  /// equal keys the last value counts, at the place of the first.
  static Result<JsonValue> parse(std::string_view json);

  bool is(Kind wanted) const { return kind == wanted; }
  /// The value at `key`; null when this is no object or lacks it, or when the value is null.
  const JsonValue* find(std::string_view key) const;

  /// {"a": [1, 2.5], "b": "中"}
  std::string dump() const;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

/// `text` in quotes, with the escapes that dump() uses.
std::string json_quote(std::string_view text);

/// "null", "true or false", "a number", "text", "a list", "an object".
std::string_view describe(JsonValue::Kind kind);

}  // namespace tessera::text
