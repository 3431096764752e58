// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/invoke_scanner.h"

#include <algorithm>

#include "tessera/text/chat_texts.h"
#include "tessera/text/json_value.h"
#include "tessera/text/utf8.h"

namespace tessera::text {
namespace {

constexpr size_t kLongestName = 1024;  // of tools and parameters: beyond it the tag was none
constexpr std::string_view kNameAttribute = " name=\"";
constexpr std::string_view kStringAttribute = "\" string=\"";
constexpr std::string_view kHeaderEnd = "\">";

bool may_become(std::string_view text, std::string_view tag) {
  return text.size() < tag.size() && tag.starts_with(text);
}

std::string valid(std::string_view text) {
  return is_utf8(text) ? std::string(text) : replace_invalid_utf8(text);
}

}  // namespace

InvokeScanner::Status InvokeScanner::scan(std::string_view text) {
  while (true) {
    Status status = Status::incomplete;
    const Phase phase = phase_;
    const size_t position = position_;
    switch (phase_) {
      case Phase::name: status = scan_name(text); break;
      case Phase::body: status = scan_body(text); break;
      case Phase::parameter: status = scan_parameter(text); break;
      case Phase::value: status = scan_value(text); break;
    }
    const bool moved = phase_ != phase || position_ != position;
    if (status != Status::incomplete || !moved) return status;
  }
}

size_t InvokeScanner::find(std::string_view text, std::string_view end) {
  const size_t found = text.find(end, std::max(position_, searched_));
  if (found != std::string_view::npos) return found;
  searched_ = text.size() < end.size() ? 0 : text.size() - end.size() + 1;
  return found;
}

InvokeScanner::Status InvokeScanner::scan_name(std::string_view text) {
  const std::string_view rest = text.substr(position_);
  if (may_become(rest, kNameAttribute)) return Status::incomplete;
  if (!rest.starts_with(kNameAttribute)) return Status::malformed;
  const size_t end = find(text, kHeaderEnd);
  const size_t start = position_ + kNameAttribute.size();
  if (std::min(end, text.size()) > start + kLongestName) return Status::malformed;
  if (end == std::string_view::npos) return Status::incomplete;
  if (end <= start) return Status::malformed;  // no name at all
  name_ = valid(text.substr(start, end - start));
  position_ = end + kHeaderEnd.size();
  phase_ = Phase::body;
  return Status::incomplete;
}

InvokeScanner::Status InvokeScanner::scan_body(std::string_view text) {
  while (position_ < text.size() && (text[position_] == '\n' || text[position_] == ' '))
    ++position_;
  const std::string_view rest = text.substr(position_);
  if (rest.starts_with(kParameterOpen)) {
    position_ += kParameterOpen.size();
    phase_ = Phase::parameter;
    return Status::incomplete;
  }
  if (rest.starts_with(kInvokeClose)) {
    position_ += kInvokeClose.size();
    return Status::complete;
  }
  if (may_become(rest, kParameterOpen) || may_become(rest, kInvokeClose)) return Status::incomplete;
  return Status::malformed;
}

InvokeScanner::Status InvokeScanner::scan_parameter(std::string_view text) {
  const std::string_view rest = text.substr(position_);
  if (may_become(rest, kNameAttribute)) return Status::incomplete;
  if (!rest.starts_with(kNameAttribute)) return Status::malformed;
  const size_t end = find(text, kHeaderEnd);
  const size_t start = position_ + kNameAttribute.size();
  if (std::min(end, text.size()) > start + kLongestName) return Status::malformed;
  if (end == std::string_view::npos) return Status::incomplete;
  if (end < start) return Status::malformed;
  std::string_view name = text.substr(start, end - start);
  auto kind = Parameter::Kind::unknown;
  const size_t attribute = name.rfind(kStringAttribute);
  if (attribute != std::string_view::npos) {
    const std::string_view flag = name.substr(attribute + kStringAttribute.size());
    if (flag == "true") kind = Parameter::Kind::text;
    if (flag == "false") kind = Parameter::Kind::json;
    name = name.substr(0, attribute);
  }
  if (std::ranges::find(parameters_, valid(name), &Parameter::name) != parameters_.end())
    return Status::malformed;  // which of the two is meant?
  parameters_.push_back({valid(name), kind, {}});
  position_ = end + kHeaderEnd.size();
  phase_ = Phase::value;
  return Status::incomplete;
}

InvokeScanner::Status InvokeScanner::scan_value(std::string_view text) {
  const size_t end = find(text, kParameterClose);
  if (end == std::string_view::npos) return Status::incomplete;
  parameters_.back().value = valid(text.substr(position_, end - position_));
  position_ = end + kParameterClose.size();
  phase_ = Phase::body;
  return Status::incomplete;
}

ToolCall InvokeScanner::take_call() const {
  ToolCall call{.id = {}, .name = name_, .arguments = "{"};
  for (const Parameter& parameter : parameters_) {
    if (call.arguments.size() > 1) call.arguments += ", ";
    const bool as_it_is =
        parameter.kind != Parameter::Kind::text && JsonValue::parse(parameter.value).ok();
    call.arguments += json_quote(parameter.name) + ": ";
    call.arguments += as_it_is ? parameter.value : json_quote(parameter.value);
  }
  call.arguments += '}';
  return call;
}

}  // namespace tessera::text
