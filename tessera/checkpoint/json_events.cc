// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/json_events.h"

namespace tessera::checkpoint {

Result<> JsonEvents::read(std::string_view json) {
  problem_.clear();
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), this)) return corrupt(problem_);
  return {};
}

bool JsonEvents::parse_error(std::size_t position, const std::string&,
                             const nlohmann::detail::exception& exception) {
  // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while parsing
  // ..."
  std::string_view text = exception.what();
  if (const size_t end = text.find("while parsing "); end != text.npos)
    text.remove_prefix(end);
  else if (const size_t bracket = text.find("] "); bracket != text.npos)
    text.remove_prefix(bracket + 2);
  text = text.substr(0, text.find("; last read: "));  // it may be no UTF-8
  return refuse(fmt::format("not JSON at byte {}: {}", position, text));
}

}  // namespace tessera::checkpoint
