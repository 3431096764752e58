// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/alignment.h"

#include <algorithm>

namespace tessera::chips::vulkan {
namespace {

constexpr size_t kHeaderWords = 5;
constexpr uint32_t kDecorate = 71, kSpecId = 1;

}  // namespace

std::vector<uint32_t> aligned_slots(std::span<const uint32_t> words) {
  std::vector<uint32_t> slots;
  for (size_t at = kHeaderWords; at < words.size();) {
    const size_t length = words[at] >> 16;
    if (length == 0 || length > words.size() - at) break;
    if ((words[at] & 0xffff) == kDecorate && length == 4 && words[at + 2] == kSpecId)
      slots.push_back(words[at + 3]);
    at += length;
  }
  return slots;
}

bool are_aligned(std::span<const uint32_t> wanted, std::span<const uint64_t> slots) {
  return std::all_of(wanted.begin(), wanted.end(), [&](uint32_t slot) {
    return slot < slots.size() && slots[slot] % kAlignment == 0;
  });
}

}  // namespace tessera::chips::vulkan
