// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/opcode.h"

namespace tessera::lang {

std::string_view mnemonic(Opcode op) {
  static constexpr std::string_view kNames[] = {
#define OPCODE(enumerator, mnemonic) mnemonic,
#include "tessera/lang/opcode.inc"
  };
  static_assert(std::size(kNames) == kOpcodeCount);
  return kNames[static_cast<uint8_t>(op)];
}

std::string_view name(Predicate predicate) {
  static constexpr std::string_view kNames[] = {"eq", "ne", "lt", "le", "gt", "ge"};
  return kNames[static_cast<uint8_t>(predicate)];
}

std::string_view name(Reduction reduction) {
  static constexpr std::string_view kNames[] = {"sum", "max", "min", "argmax", "argmin"};
  return kNames[static_cast<uint8_t>(reduction)];
}

}  // namespace tessera::lang
