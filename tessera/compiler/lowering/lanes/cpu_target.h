// SPDX-License-Identifier: Apache-2.0
// What the code of both lowerings knows of a processor; to it a thread of a simt chip is one with a
// single lane. It steers instruction selection only; a feature that
// is missing here is never used, one that is set must be in the target features handed to LLVM.
#pragma once

#include <cstdint>

namespace tessera::compiler {

struct CpuTarget {
  int lanes = 4;  // f32 elements of a native register: 4, 8 or 16
  int registers = 16;
  bool isX86 = false;  // SSE2 at least
  bool hasFma = false;
  bool hasAvx2 = false;
  bool hasAvx512 = false;                 // F, BW, DQ, VL
  bool hasBf16Dot = false;                // vdpbf16ps
  bool slowBf16Dot = false;               // it takes longer than two multiply-adds
  bool hasVnni = false;                   // vpdpbusd on 512 bits
  bool hasVbmi = false;                   // vpermb, vpermt2b
  bool hasFp16 = false;                   // arithmetic on f16 lanes of 512 bits
  bool hasAmxBf16 = false;                // tile registers, tdpbf16ps
  int64_t maxScratch = int64_t{4} << 20;  // bytes of stack of one program
  int ptx = 0;                            // NVIDIA: compute capability times ten

  int registerBytes() const { return 4 * lanes; }
};

}  // namespace tessera::compiler
