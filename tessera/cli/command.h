// SPDX-License-Identifier: Apache-2.0
// A command of the program: a row of data for the parser and the help text, and a function. Each
// command has its own file; commands.h lists them.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::cli {

struct Program;

struct OptionSpec {
  enum class Kind : uint8_t { kFlag, kText, kNumber, kList };
  std::string_view names;  // "-o,--output"
  Kind kind;
  std::string_view value;  // name of the value in the help: "FILE"
  std::string_view help;
};

struct PositionalSpec {
  std::string_view name;  // "NAME"; one that ends with ".." takes all words from there on
  std::string_view help;
  bool required = true;
};

/// What was given on the command line, by the long name without dashes ("chip") or the positional's
/// name.
class Arguments {
 public:
  bool has(std::string_view name) const { return values_.contains(name); }
  bool flag(std::string_view name) const { return has(name); }
  std::string text(std::string_view name, std::string_view fallback = {}) const;
  double number(std::string_view name, double fallback) const;
  int integer(std::string_view name, int fallback) const;
  std::vector<std::string> list(std::string_view name) const;
  bool json() const { return flag("json"); }

  void add(std::string name, std::vector<std::string> values);

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

struct CommandSpec {
  std::string_view path;  // "ops test"
  std::string_view summary;
  std::string_view details;  // more help: defaults, an example
  std::vector<PositionalSpec> positionals;
  std::vector<OptionSpec> options;
  /// Exit code 0 or 1. An `invalid_argument` error is a wrong use (exit code 2), others are
  /// failures (1).
  Result<int> (*run)(const Arguments& arguments, const Program& program);
};

/// Turns an error about a name the user typed into one of wrong use.
template <class T>
Result<T> as_usage(Result<T> result) {
  if (!result.ok() && result.error().code == ErrorCode::not_found)
    result.error().code = ErrorCode::invalid_argument;
  return result;
}

}  // namespace tessera::cli
