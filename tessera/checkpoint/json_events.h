// SPDX-License-Identifier: Apache-2.0
// Base of the readers of this folder: JSON as events, so that a file of any size needs no tree and
// repeated keys are seen. A reader overrides what its format has; everything else is refused.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tessera/base/result.h"

namespace tessera::checkpoint {

class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  /// Runs over all of `json`. Errors: corrupt, with the byte where it stops being JSON or with what
  /// `refuse` was told.
  Result<> read(std::string_view json);

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("true or false"); }
  bool number_integer(number_integer_t value) override {
    return unexpected(fmt::format("{}", value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return unexpected(fmt::format("{}", value));
  }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(text); }
  bool string(string_t&) override { return unexpected("text"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool start_object(std::size_t) override { return unexpected("an object"); }
  bool key(string_t&) override { return unexpected("a key"); }
  bool end_object() override { return unexpected("the end of an object"); }
  bool start_array(std::size_t) override { return unexpected("a list"); }
  bool end_array() override { return unexpected("the end of a list"); }
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& exception) final;

 protected:
  /// What is being read, for messages: "tensor "a", shape".
  virtual std::string place() const = 0;
  bool unexpected(std::string_view what) {
    return refuse(fmt::format("{}: {} is not expected here", place(), what));
  }
  /// Ends the reading; returns false.
  bool refuse(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

 private:
  std::string problem_;
};

}  // namespace tessera::checkpoint
