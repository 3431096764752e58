// SPDX-License-Identifier: Apache-2.0
// From messages to turns: neighbouring user messages and tool results become one turn of the user,
// and tool results go into the order of the calls they answer.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tessera/text/message.h"

namespace tessera::text {

/// A user's text or the result of a tool.
struct TurnBlock {
  const Message* message;
  bool is_tool_result;
};

struct Turn {
  const Message* message;         // the first of the turn
  size_t index;                   // of `message` among the messages given
  Role role;                      // never tool: results belong to a turn of the user
  std::vector<TurnBlock> blocks;  // of a user
  bool in_context = false;        // not to be rendered
  bool drop_reasoning = false;

  const std::optional<Task>& task() const;
};

/// The messages must outlive the turns. A message does not join a turn of the context.
std::vector<Turn> make_turns(std::span<const Message> context, std::span<const Message> messages);

/// The last turn of a user or developer; -1: none.
ptrdiff_t last_request(std::span<const Turn> turns);

/// What a model that thinks anew for every request no longer gets to see: before the last request
/// assistants lose their reasoning, and turns of a developer are removed.
void drop_old_thinking(std::vector<Turn>& turns);

}  // namespace tessera::text
