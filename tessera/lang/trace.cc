// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/trace.h"

#include <fmt/format.h>

namespace tessera::lang {

MemoryAccess Trace::memory_access(const Node& node) const {
  MemoryAccess access;
  access.view = static_cast<uint32_t>(node.ints[0]);
  const int rank = views[access.view].rank();
  auto next = node.operands.begin();
  for (int d = 0; d < rank; ++d) access.offsets.push_back(*next++);
  for (int d = 0; d < rank; ++d)
    access.extent_override.push_back((node.ints[1] >> d) & 1 ? *next++ : ValueId{-1});
  switch (node.op) {
    case Opcode::kLoad: access.fill = node.ints[2]; break;
    case Opcode::kStore:
      access.tile = *next++;
      if (node.ints[2] != 0) access.mask = *next++;
      break;
    case Opcode::kGather:
      access.rows = *next++;
      access.fill = node.ints[2];
      break;
    default:  // scatter, atomic_add
      access.rows = *next++;
      access.tile = *next++;
      break;
  }
  return access;
}

std::string Trace::line(const Node& node) const {
  if (node.line >= lines.size()) return {};
  return fmt::format("{}:{}", lines[node.line].file, lines[node.line].line);
}

Hash128 Trace::hash() const { return hash128(serialize()); }

}  // namespace tessera::lang
