// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/butterfly.h"

#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

std::optional<Butterfly> match(ConcatOp concat) {
  auto sum = concat.getA().getDefiningOp<AddOp>();
  auto difference = concat.getB().getDefiningOp<SubOp>();
  if (!sum || !difference || !sum->hasOneUse() || !difference->hasOneUse()) return std::nullopt;
  auto split = sum->getOperand(0).getDefiningOp<SplitOp>();
  if (!split || tile::dtypeOf(split.getX()) != DType::f32) return std::nullopt;
  const Value even = split.getEven(), odd = split.getOdd();
  for (Operation* half : {sum.getOperation(), difference.getOperation()})
    if (half->getOperand(0) != even || half->getOperand(1) != odd ||
        half->getBlock() != split->getBlock())
      return std::nullopt;
  const auto readTwice = [](Value x) { return std::distance(x.use_begin(), x.use_end()) == 2; };
  const int last = tile::tileType(split.getX().getType())->shape.rank() - 1;
  if (!readTwice(even) || !readTwice(odd) || concat.getAxis() != static_cast<uint64_t>(last) ||
      concat->getBlock() != split->getBlock())
    return std::nullopt;
  return Butterfly{split, concat};
}

}  // namespace

std::optional<Butterfly> butterflyOf(Operation* op) {
  Operation* last = op;
  for (int step = 0; step < 2 && !llvm::isa<ConcatOp>(last); ++step) {
    if (!llvm::isa<SplitOp, AddOp, SubOp>(last) || last->use_empty()) return std::nullopt;
    last = *last->user_begin();
  }
  auto concat = llvm::dyn_cast<ConcatOp>(last);
  const auto found = concat ? match(concat) : std::nullopt;
  const bool isPart =
      found && (op == found->concat || op == found->split || op == concat.getA().getDefiningOp() ||
                op == concat.getB().getDefiningOp());
  return isPart ? found : std::nullopt;
}

/// Whether the step was lowered, or will be where its results meet.
bool KernelLowering::lowerButterfly(Operation* op) {
  const auto step = butterflyOf(op);
  if (!step) return false;
  Butterfly found = *step;
  const Layout source = layouts_.ownOrBlocked(found.split.getX());
  if (!layouts_.exchangesHalves(source)) return false;
  if (op != found.concat) return true;
  const int lane = source.threadBitOf(0);
  const Registers from = get(found.split.getX(), source);
  const Value sign = e_.select(threadBit(lane), e_.f32(-1), e_.f32(1));
  Registers to{*layouts_.of(found.concat.getResult()), {}};
  for (const Value own : from.values) to.values.push_back(e_.fma(own, sign, exchange(own, lane)));
  set(found.concat.getResult(), to);
  return true;
}

}  // namespace tessera::compiler::simt
