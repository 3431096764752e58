// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/float_controls.h"

#include <optional>

namespace tessera::chips::vulkan {
namespace {

constexpr uint32_t kMagic = 0x07230203;
constexpr size_t kHeaderWords = 5;
constexpr uint32_t kEntryPoint = 15, kExecutionMode = 16, kCapability = 17;  // opcodes

/// An execution mode and the capability it needs.
struct Mode {
  uint32_t mode, capability;
};
constexpr Mode kSubnormals = {4459, 4464}, kSignedZeroNan = {4461, 4466},
               kNearestEven = {4462, 4467};

void append(std::vector<uint32_t>& out, uint32_t opcode, std::initializer_list<uint32_t> operands) {
  out.push_back(static_cast<uint32_t>(operands.size() + 1) << 16 | opcode);
  out.insert(out.end(), operands);
}

/// The entry point's function, and the word behind its declaration.
struct EntryPoint {
  uint32_t function = 0;
  size_t end = 0;
};

std::optional<EntryPoint> entry_point(std::span<const uint32_t> words) {
  std::optional<EntryPoint> found;
  for (size_t at = kHeaderWords; at < words.size();) {
    const uint32_t opcode = words[at] & 0xffff;
    const size_t length = words[at] >> 16;
    if (length == 0 || length > words.size() - at) return std::nullopt;
    if (opcode == kEntryPoint) {
      if (found || length < 4) return std::nullopt;
      found = {words[at + 2], at + length};
    }
    at += length;
  }
  return found;
}

}  // namespace

std::vector<uint32_t> with_float_controls(std::span<const uint32_t> words,
                                          const FloatControls& controls) {
  if (words.size() < kHeaderWords || words[0] != kMagic) return {};
  const std::optional<EntryPoint> entry = entry_point(words);
  if (!entry) return {};
  std::vector<Mode> modes;
  if (controls.subnormals) modes.push_back(kSubnormals);
  if (controls.signed_zero_nan) modes.push_back(kSignedZeroNan);
  if (controls.nearest_even) modes.push_back(kNearestEven);
  std::vector<uint32_t> out(words.begin(), words.begin() + kHeaderWords);
  for (const Mode& mode : modes) append(out, kCapability, {mode.capability});
  out.insert(out.end(), words.begin() + kHeaderWords,
             words.begin() + static_cast<ptrdiff_t>(entry->end));
  for (const Mode& mode : modes) append(out, kExecutionMode, {entry->function, mode.mode, 32});
  out.insert(out.end(), words.begin() + static_cast<ptrdiff_t>(entry->end), words.end());
  return out;
}

}  // namespace tessera::chips::vulkan
