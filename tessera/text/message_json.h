// SPDX-License-Identifier: Apache-2.0
// Conversations in the JSON of chat completion requests.
#pragma once

#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/text/message.h"

namespace tessera::text {

/// From a list of messages, or from an object with "messages" and possibly "tools" and
/// "response_format", as in the body of a request; these two then go to the first message, or to an
/// empty system message put before it when that is no system or developer message. Fields of a
/// message that mean nothing to the encoding are passed over. "prefix" is another name of "wo_eos";
/// arguments of a tool call may be text or a JSON object.
///
/// Errors (invalid_argument) say where: "messages[2].role: unknown role "narrator"".
Result<std::vector<Message>> parse_messages(std::string_view json);

}  // namespace tessera::text
