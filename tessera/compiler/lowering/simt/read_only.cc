// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/read_only.h"

#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::simt {

using namespace tile;  // the dialect's operations

bool isReadOnly(mlir::Operation* op) {
  auto kernel = op->getParentOfType<KernelOp>();
  const auto reads = [&](auto load) {
    return kernel.view(load.getView()).getAccess() == Access::read;
  };
  if (auto load = llvm::dyn_cast<LoadOp>(op)) return reads(load);
  if (auto gather = llvm::dyn_cast<GatherOp>(op)) return reads(gather);
  return false;
}

}  // namespace tessera::compiler::simt
