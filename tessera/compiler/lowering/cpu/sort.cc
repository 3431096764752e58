// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/kernel_lowering.h"

namespace tessera::compiler::cpu {
void lowerSort(KernelLowering&, tile::SortOp) { TESSERA_UNREACHABLE("sort"); }
void lowerGather(KernelLowering&, tile::GatherOp) { TESSERA_UNREACHABLE("sort"); }
void lowerScatter(KernelLowering&, tile::ScatterOp) { TESSERA_UNREACHABLE("sort"); }
void lowerAtomicAdd(KernelLowering&, tile::AtomicAddOp) { TESSERA_UNREACHABLE("sort"); }
}  // namespace tessera::compiler::cpu
