// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/architecture.h"

namespace tessera::chips::vulkan {
namespace {

runtime::Capabilities plain() {
  runtime::Capabilities c;
  c.vector_tile = 256;
  c.program_grain = 512;
  c.gemv_rows = 4;
  c.dot_tile[0] = {1, 4, 128};
  c.dot_tile[1] = {8, 32, 8};
  c.dot_tile[2] = {32, 32, 8};
  c.dot_tile[3] = {32, 32, 8};
  c.attention_keys = 8;
  c.sort_tile = 1024;
  return c;
}

runtime::Capabilities matrix() {
  runtime::Capabilities c = plain();
  c.dot_tile[1] = {8, 16, 32};
  c.dot_tile[2] = c.dot_tile[3] = {32, 32, 32};
  c.matrix_tile[2] = {64, 64, 64};
  c.matrix_tile[3] = {128, 256, 32};
  return c;
}

}  // namespace

std::span<const Architecture> architectures() {
  // 32 KiB of shared memory and 128 invocations are what every device offered here has. Lavapipe
  // moves 8 bytes at once; which kernels may is decided before they are compiled. Devices with
  // matrices are GPUs with more of everything.
  static const Architecture table[] = {
      {"vulkan:1.2", false, 128, 32 << 10, 8, plain()},
      {"vulkan:matrix", true, 256, 48 << 10, 16, matrix()},
  };
  return table;
}

}  // namespace tessera::chips::vulkan
