// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: Trace::parse on hostile bytes. The first byte says how to read the rest: 0 as
// the bytes of a trace, else as edits {position, xor} of a good one, which gets behind the outer
// checks.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tessera/lang/trace_samples.h"

namespace {

using tessera::lang::Trace;

std::vector<std::byte> edited(const std::vector<std::byte>& good, const uint8_t* data,
                              size_t size) {
  std::vector<std::byte> bytes = good;
  for (; size >= 3; data += 3, size -= 3) {
    uint16_t position = 0;
    std::memcpy(&position, data, sizeof position);
    bytes[position % bytes.size()] ^= std::byte{data[2]};
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::byte> kSeeds[] = {
      tessera::lang::sample_trace().serialize(Trace::Lines::kKeep),
      tessera::lang::every_opcode_trace().serialize()};
  if (size == 0) return 0;
  const auto* rest = reinterpret_cast<const std::byte*>(data + 1);
  const std::vector<std::byte> bytes = data[0] == 0
                                           ? std::vector(rest, rest + size - 1)
                                           : edited(kSeeds[data[0] % 2], data + 1, size - 1);
  const auto trace = Trace::parse(bytes);
  if (!trace.ok()) return 0;
  // What is accepted is whole: it prints, and gives the bytes it came from.
  if (trace->to_string().empty() || trace->serialize(Trace::Lines::kKeep) != bytes) std::abort();
  return 0;
}
