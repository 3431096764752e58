// SPDX-License-Identifier: Apache-2.0
// Key-value sort by a bitonic network on one row in memory. Keys are turned into unsigned numbers
// that sort the right way (NaN last, descending inverted) and joined with their value, so that one
// comparison decides and equal keys keep the lower value first. The result is unique, hence the
// same on every chip.
#include <bit>

#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/kernel_lowering.h"

namespace tessera::compiler::cpu {

namespace arith = mlir::arith;
using arith::CmpFPredicate;
using arith::CmpIPredicate;
using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Value;
using mlir::ValueRange;

namespace {

/// A lane of the network: one i64 for keys of 32 bits (key above, value below), else key and value.
using Item = SmallVector<Value, 2>;

constexpr int64_t kTop32 = int64_t{1} << 31;

class Network {
 public:
  Network(KernelLowering& lowering, tile::SortOp op)
      : k(lowering),
        e(lowering.e),
        op_(op),
        dtype_(tile::dtypeOf(op.getKey())),
        descending_(op.getDescending() != 0) {
    const ArrayRef<int64_t> shape = tile::typeOf(op.getKey()).getShape();
    extent_ = shape.back();
    words_ = dtype_ == DType::i64 ? 2 : 1;
    for (int i = 0; i < words_; ++i) memory_.push_back(k.views.scratch(DType::i64, {extent_}));
    lanes_ = std::min<int64_t>(extent_, e.target.lanes);
  }

  void run() {
    const Place keys = k.newPlace(op_.getKeys()), values = k.newPlace(op_.getValues());
    SmallVector<int64_t, 3> rows(tile::typeOf(op_.getKey()).getShape());
    rows.back() = 1;
    k.evaluator.forEachChunk(
        rows, static_cast<int>(rows.size()) - 1, 1, /*limit=*/1, [&](const Lanes& row) {
          alongRow(row, [&](const Lanes& lanes, Index at) { put(at, encode(lanes)); });
          sortRow();
          alongRow(row, [&](const Lanes& lanes, Index at) {
            const Item item = get(at, lanes.count);
            k.evaluator.write(keys, decodeKey(item), lanes);
            k.evaluator.write(values, decodeValue(item), lanes);
          });
        });
    k.evaluator.places[op_.getKeys()] = keys;
    k.evaluator.places[op_.getValues()] = values;
    k.evaluator.forget();
  }

 private:
  void alongRow(const Lanes& row, llvm::function_ref<void(const Lanes&, Index)> body) {
    e.loop(0, extent_, lanes_, [&](Value at) {
      k.evaluator.scoped([&] {
        Lanes lanes = row;
        lanes.dim = static_cast<int>(row.at.size()) - 1;
        lanes.count = lanes_;
        lanes.at.back() = at;
        body(lanes, at);
      });
    });
  }

  Item get(Index at, int64_t count) {
    Item item;
    for (const Place& place : memory_)
      item.push_back(loadLanes(e, DType::i64, place.pointer, at, count));
    return item;
  }
  void put(Index at, const Item& item) {
    for (auto [place, word] : llvm::zip_equal(memory_, item))
      storeLanes(e, DType::i64, word, place.pointer, at);
  }

  // ---- keys ----

  /// f32 bits <-> numbers that sort as the floats do; NaN sorts last either way.
  Value orderedFloat(Value key) {
    const Value canonical = e.add(key, e.constant(key.getType(), 0));  // -0 equals 0
    const Value bits = e.bitcast(canonical, e.i32());
    const Value flip = e.ori(e.sar(bits, 31), e.integer(bits.getType(), -kTop32));
    Value ordered = e.xori(bits, flip);
    if (descending_) ordered = e.xori(ordered, -1);
    const Value isNan = e.compare(CmpFPredicate::UNO, key, key);
    return e.select(isNan, e.integer(bits.getType(), -1), ordered);
  }
  Value floatOf(Value ordered) {
    const Value isNan = e.compare(CmpIPredicate::eq, ordered, e.integer(ordered.getType(), -1));
    if (descending_) ordered = e.xori(ordered, -1);
    const Value flip = e.ori(e.xori(e.sar(ordered, 31), -1), e.integer(ordered.getType(), -kTop32));
    const Value bits =
        e.select(isNan, e.integer(ordered.getType(), 0x7fc00000), e.xori(ordered, flip));
    return e.bitcast(bits, e.f32());
  }
  Value ordered(Value key) {
    if (dtype_ == DType::f32) return orderedFloat(key);
    if (dtype_ == DType::i32) key = e.xori(key, -kTop32);
    if (dtype_ == DType::i64) key = e.xori(key, INT64_MIN);
    return descending_ ? e.xori(key, -1) : key;
  }
  Value original(Value key) {
    if (dtype_ == DType::f32) return floatOf(key);
    if (descending_) key = e.xori(key, -1);
    if (dtype_ == DType::i32) return e.xori(key, -kTop32);
    return dtype_ == DType::i64 ? e.xori(key, INT64_MIN) : key;
  }

  Item encode(const Lanes& lanes) {
    const Value key = ordered(k.evaluator.eval(op_.getKey(), lanes));
    const Value value = e.xori(k.evaluator.eval(op_.getValue(), lanes), -kTop32);
    if (words_ == 2) return {key, e.zeroExtend(value, e.i64())};
    return {e.ori(e.shl(e.zeroExtend(key, e.i64()), 32), e.zeroExtend(value, e.i64()))};
  }
  Value decodeKey(const Item& item) {
    return original(words_ == 2 ? item[0] : e.truncate(e.shr(item[0], 32), e.i32()));
  }
  Value decodeValue(const Item& item) { return e.xori(e.truncate(item.back(), e.i32()), -kTop32); }

  // ---- the network ----

  Value isLess(const Item& a, const Item& b) {
    const Value less = e.compare(CmpIPredicate::ult, a[0], b[0]);
    if (words_ == 1) return less;
    const Value same = e.compare(CmpIPredicate::eq, a[0], b[0]);
    return e.ori(less, e.andi(same, e.compare(CmpIPredicate::ult, a[1], b[1])));
  }

  Item pick(Value condition, const Item& a, const Item& b) {
    Item picked;
    for (auto [x, y] : llvm::zip_equal(a, b)) picked.push_back(e.select(condition, x, y));
    return picked;
  }

  /// Blocks of `size` elements become sorted, odd blocks downwards. Distances of a vector and more
  /// compare whole vectors; smaller ones work inside a vector.
  void sortRow() {
    for (int64_t size = 2; size <= std::min(extent_, lanes_); size *= 2)
      insideVectors(e.i64(size), size / 2);
    if (extent_ <= lanes_) return;
    const int64_t rounds = std::countr_zero(static_cast<uint64_t>(extent_ / lanes_));
    e.loop(0, rounds, 1, [&](Value round) {
      const Value size = shiftLeft(e.i64(2 * lanes_), round);
      // Distances size / 2, size / 4, .. down to one vector.
      e.loop(e.i64(0), e.add(round, e.i64(1)), e.i64(1), {},
             [&](Value step, ValueRange) -> SmallVector<Value> {
               acrossVectors(size,
                             e.builder.createOrFold<arith::ShRUIOp>(e.loc, e.shr(size, 1), step));
               return {};
             });
      insideVectors(size, lanes_ / 2);
    });
  }

  Value shiftLeft(Value a, Value b) { return e.builder.createOrFold<arith::ShLIOp>(e.loc, a, b); }

  void acrossVectors(Value size, Value distance) {
    // Pair number p: vectors at (p - p mod d) * 2 + p mod d, and d further, counted in elements.
    e.loop(0, extent_ / 2, lanes_, [&](Value p) {
      const Value within = e.andi(p, e.sub(distance, e.i64(1)));
      const Value at = e.add(e.shl(e.sub(p, within), 1), within);
      const Value other = e.add(at, distance);
      const Item a = get(at, lanes_), b = get(other, lanes_);
      const Value upwards = e.compare(CmpIPredicate::eq, e.andi(at, size), e.i64(0));
      const Value keep = e.xori(isLess(b, a), e.splat(e.xori(upwards, 1), lanes_));
      put(at, pick(keep, b, a));
      put(other, pick(keep, a, b));
    });
  }

  /// All distances from `first` down to 1 inside each vector.
  void insideVectors(Value size, int64_t first) {
    if (lanes_ == 1) return;
    e.loop(0, extent_, lanes_, [&](Value at) {
      SmallVector<int64_t> steps(lanes_);
      for (int64_t i = 0; i < lanes_; ++i) steps[i] = i;
      const Value positions = e.add(e.splat(at, lanes_), e.integers(e.i64(), steps));
      const Value down = e.compare(CmpIPredicate::ne, e.andi(positions, e.splat(size, lanes_)),
                                   e.integer(positions.getType(), 0));
      Item item = get(at, lanes_);
      for (int64_t distance = first; distance > 0; distance /= 2)
        item = exchange(item, distance, down);
      put(at, item);
    });
  }

  Item exchange(const Item& item, int64_t distance, Value down) {
    SmallVector<int64_t> mask(lanes_), upper(lanes_);
    for (int64_t i = 0; i < lanes_; ++i) mask[i] = i ^ distance, upper[i] = (i & distance) ? 1 : 0;
    Item partner;
    for (Value word : item) partner.push_back(e.shuffle(word, {}, mask));
    // The lower lane keeps the smaller item, the upper one the larger; downwards the other way
    // round.
    const Value wantsLarger = e.xori(e.integers(e.i1(), upper), down);
    const Value partnerLess = isLess(partner, item);
    const Value swap = e.select(wantsLarger, isLess(item, partner), partnerLess);
    return pick(swap, partner, item);
  }

  KernelLowering& k;
  Emitter& e;
  tile::SortOp op_;
  DType dtype_;
  bool descending_;
  int64_t extent_ = 1, lanes_ = 1;
  int words_ = 1;
  SmallVector<Place, 2> memory_;
};

}  // namespace

void lowerSort(KernelLowering& k, tile::SortOp op) { Network(k, op).run(); }

}  // namespace tessera::compiler::cpu
