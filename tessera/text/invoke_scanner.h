// SPDX-License-Identifier: Apache-2.0
// Reads one tool call while it arrives: what follows `<｜DSML｜invoke`, through
// `</｜DSML｜invoke>`. Line breaks between tags may be missing. A parameter that does not say
// whether it is text, or says it wrongly, or is not the JSON it claims to be, is taken as JSON if
// it is JSON and as text otherwise.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/text/message.h"

namespace tessera::text {

class InvokeScanner {
 public:
  enum class Status { incomplete, complete, malformed };

  /// `text` is all that followed the opening tag so far, every time; nothing is read twice.
  Status scan(std::string_view text);

  /// Bytes of `text` that belong to the call: up to its end, or up to where it is malformed.
  size_t consumed() const { return position_; }

  /// When complete.
  ToolCall take_call() const;

 private:
  enum class Phase { name, body, parameter, value };
  struct Parameter {
    std::string name;
    enum class Kind { text, json, unknown } kind;
    std::string value;
  };

  Status scan_name(std::string_view text);
  Status scan_body(std::string_view text);
  Status scan_parameter(std::string_view text);
  Status scan_value(std::string_view text);
  /// Finds `end` behind position_, going on where the last search stopped; npos: not there yet.
  size_t find(std::string_view text, std::string_view end);

  Phase phase_ = Phase::name;
  size_t position_ = 0;  // done up to here
  size_t searched_ = 0;  // find() saw no `end` that starts before this
  std::string name_;
  std::vector<Parameter> parameters_;
};

}  // namespace tessera::text
