// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/integer_range.h"

#include <algorithm>
#include <limits>

#include "llvm/ADT/TypeSwitch.h"
#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::cpu {

using mlir::Value;

namespace {

constexpr IntegerRange kAny = {std::numeric_limits<int32_t>::min(),
                               std::numeric_limits<int32_t>::max()};
constexpr int kMaxDepth = 16;

/// Arithmetic that may wrap around says nothing.
IntegerRange orAny(IntegerRange range) {
  return range.within(kAny.least, kAny.most) ? range : kAny;
}

IntegerRange range(Value tile, int depth) {
  mlir::Operation* op = tile.getDefiningOp();
  if (op == nullptr || depth > kMaxDepth || tile::dtypeOf(tile) != DType::i32) return kAny;
  const auto of = [&](Value operand) { return range(operand, depth + 1); };
  return llvm::TypeSwitch<mlir::Operation*, IntegerRange>(op)
      .Case([](tile::ConstantOp c) {
        const auto number = static_cast<int32_t>(c.getValue());
        return IntegerRange{number, number};
      })
      .Case<tile::ReshapeOp, tile::BroadcastOp>([&](auto o) { return of(o.getX()); })
      .Case([&](tile::ReduceOp r) {
        const bool picks =
            r.getKind() == tile::Reduction::max || r.getKind() == tile::Reduction::min;
        return picks ? of(r.getX()) : kAny;
      })
      .Case([&](tile::AndOp a) {
        const IntegerRange mask = of(a.getB());
        return mask.least < 0 ? kAny : IntegerRange{0, mask.most};
      })
      .Case([&](tile::MinOp m) {
        const IntegerRange a = of(m.getA()), b = of(m.getB());
        return IntegerRange{std::min(a.least, b.least), std::min(a.most, b.most)};
      })
      .Case([&](tile::MaxOp m) {
        const IntegerRange a = of(m.getA()), b = of(m.getB());
        return IntegerRange{std::max(a.least, b.least), std::max(a.most, b.most)};
      })
      .Case([&](tile::AddOp s) {
        const IntegerRange a = of(s.getA()), b = of(s.getB());
        return orAny({a.least + b.least, a.most + b.most});
      })
      .Case([&](tile::SubOp s) {
        const IntegerRange a = of(s.getA()), b = of(s.getB());
        return orAny({a.least - b.most, a.most - b.least});
      })
      .Case([&](tile::ShrOp s) {
        const IntegerRange a = of(s.getA()), by = of(s.getB());
        if (by.least != by.most || !by.within(0, 31)) return kAny;
        return IntegerRange{a.least >> by.least, a.most >> by.least};
      })
      .Case([&](tile::SelectOp s) {
        const IntegerRange a = of(s->getOperand(1)), b = of(s->getOperand(2));
        return IntegerRange{std::min(a.least, b.least), std::max(a.most, b.most)};
      })
      .Default(kAny);
}

}  // namespace

IntegerRange rangeOf(Value tile) { return range(tile, 0); }

}  // namespace tessera::compiler::cpu
