// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/message.h"

#include <algorithm>
#include <array>

namespace tessera::text {
namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 6> kRoles = {"system",    "developer", "user",
                                                    "assistant", "tool",      "latest_reminder"};
constexpr std::array<std::string_view, 6> kTasks = {"query", "authority", "domain",
                                                    "title", "read_url",  "action"};

template <class Enum, size_t N>
std::optional<Enum> find(const std::array<std::string_view, N>& names, std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Enum>(found - names.begin());
}

}  // namespace

std::string_view name(Role role) { return kRoles[static_cast<size_t>(role)]; }
std::string_view name(Task task) { return kTasks[static_cast<size_t>(task)]; }
std::optional<Role> find_role(std::string_view name) { return find<Role>(kRoles, name); }
std::optional<Task> find_task(std::string_view name) { return find<Task>(kTasks, name); }

}  // namespace tessera::text
