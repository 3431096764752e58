// SPDX-License-Identifier: Apache-2.0
// Records a kernel: declares arguments, holds control flow, checks every use.
//
//   Result<Trace> t = trace_kernel("scale.rows", [&](KernelBuilder& k) {
//     View x = k.view("x", DType::f32, 2, Access::kRead);
//     View y = k.view("y", DType::f32, 2, Access::kWrite);
//     Tile row = k.program_id(0);
//     k.for_range(0, x.extent(1), 64, [&](Tile c) {
//       store(y, {row, c}, load(x, {row, c}, {1, 64}) * 2);
//     });
//   });
//
// The order of nodes is the order in which the C++ compiler evaluates arguments: name intermediate
// tiles where traces of two compilers must be equal.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "tessera/lang/tile.h"

namespace tessera::lang {

/// What a caller promises about a view; part of the specialisation.
struct ViewTraits {
  std::vector<Divisor> extent_divisors = {};  // empty: nothing promised
  std::vector<Divisor> stride_divisors = {};  // empty: nothing promised
  bool constant = false;
  bool streamed = false;
};

/// Values carried around a loop or out of an `if_`.
template <class... T>
std::array<Tile, sizeof...(T)> carry(T... tiles) {
  return {tiles...};
}

class KernelBuilder {
 public:
  explicit KernelBuilder(std::string name);
  KernelBuilder(const KernelBuilder&) = delete;
  KernelBuilder& operator=(const KernelBuilder&) = delete;

  // ---- arguments, in the order the caller packs them ----
  View view(std::string name, DType dtype, int rank, Access access, ViewTraits traits = {},
            TESSERA_AT);
  Tile scalar(std::string name, DType dtype, Divisor divisor = 1, TESSERA_AT);

  Tile program_id(int axis, TESSERA_AT);
  Tile num_programs(int axis, TESSERA_AT);

  // ---- constants ----
  Tile constant(DType dtype, TileShape shape, Operand number);
  Tile zeros(DType dtype, TileShape shape, TESSERA_AT) { return constant(dtype, shape, {0, at}); }
  Tile index(int64_t value, TESSERA_AT) { return constant(DType::i64, {}, {value, at}); }
  /// i32 tile holding the index along `axis`.
  Tile iota(TileShape shape, int axis, TESSERA_AT);

  // ---- control ----
  /// for (i = lo; i < hi; i += step) body(i); bounds may be run-time scalars.
  template <class Body>
  void for_range(Operand lo, Operand hi, Operand step, Body body) {
    loop(lo, hi, step, {}, [&](Tile i, std::span<const Tile>) {
      body(i);
      return std::vector<Tile>{};
    });
  }
  /// The same with carried values: body(i, a, b, ..) returns carry(a', b', ..).
  template <size_t N, class Body>
  std::array<Tile, N> for_range(Operand lo, Operand hi, Operand step, std::array<Tile, N> init,
                                Body body) {
    auto out = loop(lo, hi, step, init, [&](Tile i, std::span<const Tile> carried) {
      std::array<Tile, N> in;
      for (size_t n = 0; n < N; ++n) in[n] = carried[n];
      std::array<Tile, N> next = std::apply([&](auto... c) { return body(i, c...); }, in);
      return std::vector<Tile>(next.begin(), next.end());
    });
    std::array<Tile, N> result;
    for (size_t n = 0; n < N; ++n) result[n] = n < out.size() ? out[n] : poison();
    return result;
  }
  template <class Then>
  void if_(Operand condition, Then then) {
    branch(
        condition,
        [&] {
          then();
          return std::vector<Tile>{};
        },
        [] { return std::vector<Tile>{}; });
  }
  template <class Then, class Else>
    requires(std::is_void_v<std::invoke_result_t<Then>>)
  void if_(Operand condition, Then then, Else otherwise) {
    branch(
        condition,
        [&] {
          then();
          return std::vector<Tile>{};
        },
        [&] {
          otherwise();
          return std::vector<Tile>{};
        });
  }
  /// Both branches return carry(..) of the same types.
  template <class Then, class Else>
    requires(!std::is_void_v<std::invoke_result_t<Then>>)
  auto if_(Operand condition, Then then, Else otherwise) {
    using Carried = std::invoke_result_t<Then>;
    auto out = branch(
        condition,
        [&] {
          auto c = then();
          return std::vector<Tile>(c.begin(), c.end());
        },
        [&] {
          auto c = otherwise();
          return std::vector<Tile>(c.begin(), c.end());
        });
    Carried result;
    for (size_t n = 0; n < result.size(); ++n) result[n] = n < out.size() ? out[n] : poison();
    return result;
  }

  // ---- hints, never semantics ----
  void warps(int count) { trace_.warps = count; }
  void stages(int count) { trace_.stages = count; }

  /// The trace, or one error naming every mistake with file and line.
  Result<Trace> finish() &&;

  // ---- used by the operations in tile.h ----
  const TileType& type(ValueId id) const;
  const ViewDecl& decl(uint32_t view) const { return trace_.views[view]; }
  /// The value of a kConstant result.
  std::optional<int64_t> constant_value(ValueId id) const { return constants_[id]; }
  /// Appends a node and returns its results; poison in, poison out.
  std::vector<Tile> emit(Opcode op, std::span<const Tile> operands,
                         std::span<const TileType> results, std::vector<int64_t> ints,
                         std::source_location at, std::vector<Block> regions = {});
  Tile emit1(Opcode op, std::initializer_list<Tile> operands, TileType result,
             std::vector<int64_t> ints, std::source_location at);
  /// Records a mistake and returns poison.
  Tile mistake(std::source_location at, std::string message);
  Tile poison() { return Tile(this, -1); }

 private:
  using LoopBody = std::function<std::vector<Tile>(Tile, std::span<const Tile>)>;
  using Branch = std::function<std::vector<Tile>()>;
  std::vector<Tile> loop(Operand lo, Operand hi, Operand step, std::span<const Tile> init,
                         const LoopBody& body);
  std::vector<Tile> branch(Operand condition, const Branch& then, const Branch& otherwise);
  class Scope;  // a block being recorded
  bool usable(Opcode op, Tile operand, std::source_location at);
  std::vector<ValueId> yields(std::string_view what, std::span<const Tile> tiles,
                              std::span<const Tile> expected, std::source_location at);
  void check_name(std::string_view what, const std::string& name, std::source_location at);
  void check_divisors(std::string_view what, std::span<const Divisor> divisors, size_t count,
                      std::source_location at);
  ValueId new_value(TileType type);
  uint32_t line_index(std::source_location at);

  Trace trace_;
  std::vector<Block*> open_blocks_;                // innermost last
  std::vector<uint32_t> open_serials_;             // of the same blocks
  std::vector<bool> is_open_;                      // by block serial
  std::vector<uint32_t> defined_in_;               // by value: serial of its block
  std::vector<std::optional<int64_t>> constants_;  // by value
  std::vector<std::string> mistakes_;
  uint32_t next_slot_ = 0;
};

/// Runs `body` once on a fresh builder.
Result<Trace> trace_kernel(std::string name, const std::function<void(KernelBuilder&)>& body);

}  // namespace tessera::lang
