// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/chat_turns.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace tessera::text {
namespace {

using CallOrder = std::unordered_map<std::string_view, size_t>;

void append_turns(std::span<const Message> messages, bool in_context, std::vector<Turn>& turns) {
  bool joinable = false;  // the last turn is a user's, of these messages
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    const bool is_result = message.role == Role::tool;
    const bool is_user = message.role == Role::user || is_result;
    // A task closes a turn for text, not for results.
    if (is_user && joinable && (is_result || !turns.back().task())) {
      turns.back().blocks.push_back({&message, is_result});
      continue;
    }
    Turn turn{.message = &message,
              .index = i,
              .role = is_user ? Role::user : message.role,
              .blocks = {},
              .in_context = in_context};
    if (is_user) turn.blocks.push_back({&message, is_result});
    turns.push_back(std::move(turn));
    joinable = is_user;
  }
}

/// Reorders the results among the places they have; those of unknown calls count as the first
/// call's.
void sort_results(const CallOrder& order, std::vector<TurnBlock>& blocks) {
  std::vector<TurnBlock> results;
  std::ranges::copy_if(blocks, std::back_inserter(results), &TurnBlock::is_tool_result);
  const auto rank = [&](const TurnBlock& block) {
    const auto found = order.find(block.message->tool_call_id);
    return found == order.end() ? 0 : found->second;
  };
  std::ranges::stable_sort(results, {}, rank);
  auto next = results.begin();
  for (TurnBlock& block : blocks)
    if (block.is_tool_result) block = *next++;
}

}  // namespace

const std::optional<Task>& Turn::task() const { return message->task; }

std::vector<Turn> make_turns(std::span<const Message> context, std::span<const Message> messages) {
  std::vector<Turn> turns;
  append_turns(context, true, turns);
  append_turns(messages, false, turns);
  CallOrder order;
  for (Turn& turn : turns) {
    if (turn.role == Role::assistant && !turn.message->tool_calls.empty()) {
      order.clear();
      size_t index = 0;
      for (const ToolCall& call : turn.message->tool_calls) {
        if (!call.id.empty()) order[call.id] = index;
        ++index;
      }
    } else if (turn.role == Role::user && !order.empty()) {
      sort_results(order, turn.blocks);
    }
  }
  return turns;
}

ptrdiff_t last_request(std::span<const Turn> turns) {
  for (size_t i = turns.size(); i-- > 0;)
    if (turns[i].role == Role::user || turns[i].role == Role::developer)
      return static_cast<ptrdiff_t>(i);
  return -1;
}

void drop_old_thinking(std::vector<Turn>& turns) {
  const ptrdiff_t last = last_request(turns);
  std::vector<Turn> kept;
  for (size_t i = 0; i < turns.size(); ++i) {
    const bool old = static_cast<ptrdiff_t>(i) < last;
    if (old && turns[i].role == Role::developer) continue;
    turns[i].drop_reasoning = old;
    kept.push_back(std::move(turns[i]));
  }
  turns = std::move(kept);
}

}  // namespace tessera::text
