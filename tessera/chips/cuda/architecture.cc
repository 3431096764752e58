// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cuda/architecture.h"

namespace tessera::chips::cuda {
namespace {

runtime::Capabilities capabilities() {
  runtime::Capabilities c;
  c.vector_tile = 4096;
  c.program_grain = 4096;
  c.gemv_rows = 4;
  c.dot_tile[0] = {1, 4, 1024};
  c.dot_tile[1] = {8, 4, 512};
  c.dot_tile[2] = {64, 64, 32};
  c.dot_tile[3] = {64, 64, 32};
  c.attention_keys = 16;
  c.sort_tile = 1024;
  return c;
}

/// With mma.sync.
runtime::Capabilities ampere() {
  runtime::Capabilities c = capabilities();
  c.matrix_tile[0] = {1, 16, 4096};
  c.matrix_tile[1] = {8, 16, 2048};
  return c;
}

/// With wgmma.
runtime::Capabilities hopper() {
  runtime::Capabilities c = ampere();
  c.matrix_tile[2] = {64, 64, 128};
  c.matrix_tile[3] = {128, 256, 64};
  return c;
}

}  // namespace

std::span<const Architecture> architectures() {
  // sm_90a code runs on compute capability 9.0 only; newer chips take the PTX of sm_89.
  static const std::vector<Architecture> table = {
      {"sm_70", 7, 0, 96 << 10, {DType::f16}, capabilities()},
      {"sm_80", 8, 0, 160 << 10, {DType::f16, DType::bf16, DType::i8}, ampere()},
      {"sm_89",
       8,
       9,
       99 << 10,
       {DType::f16, DType::bf16, DType::i8, DType::f8e4m3, DType::f8e5m2},
       ampere()},
      {"sm_90a",
       9,
       0,
       227 << 10,
       {DType::f16, DType::bf16, DType::i8, DType::f8e4m3, DType::f8e5m2},
       hopper()},
  };
  return table;
}

const Architecture& architecture_for(int major, int minor) {
  const auto table = architectures();
  const Architecture* best = &table.front();
  for (const Architecture& a : table) {
    const bool exact_only = a.name.back() == 'a';
    const bool runs = exact_only ? a.major == major && a.minor == minor
                                 : a.major < major || (a.major == major && a.minor <= minor);
    if (runs) best = &a;
  }
  return *best;
}

}  // namespace tessera::chips::cuda
