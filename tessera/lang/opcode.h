// SPDX-License-Identifier: Apache-2.0
// Opcodes of a trace and what each one means. A "scalar" is a tile of rank 0.
//
// Arithmetic is done on f32, i32, u32, i64 and (logic only) i1; every other dtype is a storage type
// that is cast first. All operands of an elementwise node have the same shape (the tracer inserts
// kBroadcast), and the same dtype unless stated.
//
//   opcode        operands                          ints                          result
//   program_id    -                                 {axis}                        i64 scalar
//   num_programs  -                                 {axis}                        i64 scalar
//   extent        -                                 {view, dim}                   i64 scalar
//   scalar_arg    -                                 {scalar index}                scalar
//   constant      -                                 {value}                       splat tile.
//   Floats: f32 bits
//                 of the value (already rounded to a storage dtype); integers: the value; i1: 0 or
//                 1
//   iota          -                                 {axis}                        i32 tile: index
//   along axis load          offsets.., overrides..                  {view, override mask, fill
//   bits}    tile store         offsets.., overrides.., tile, [mask]    {view, override mask, has
//   mask} gather        offsets.., overrides.., rows            {view, override mask, fill bits}
//   tile scatter       offsets.., overrides.., rows, tile      {view, override mask} atomic_add
//   offsets.., overrides.., rows, tile      {view, override mask}; i32 and i64 only
//                 Trace::memory_access decodes these five; MemoryAccess says what they mean.
//   cast          x                                 -                             dtype of the
//   result
//                 one of: f32, i32, u32, i64 (and from i1) to each other; f32 from and to a storage
//                 float; i32 from and to i8, u8, i16. The tracer splits other casts into two.
//                 f32 to integer truncates; out of range is undefined. Narrower integers keep low
//                 bits.
//   bitcast       x                                 -                             same width; not
//   i1, f4 compare       a, b                              {Predicate}                   i1 select
//   condition(i1), a, b fma           a, b, c                           - a * b + c, one rounding
//                                                                                 or two (chip's
//                                                                                 choice)
//   shr           a, b: arithmetic for i32/i64, logical for u32
//   div, rem      integers truncate toward zero; division by zero is undefined
//   min, max      f32: a NaN operand gives NaN
//   broadcast     x                                 -                             NumPy: trailing
//   dimensions
//                 aligned, extent 1 stretched, leading dimensions added
//   reshape       x                                 -                             row-major order
//   kept transpose     x                                 {permutation..} slice         x {axis,
//   start}                 static window along axis concat        a, b {axis} split         x [..,
//   2n]                        -                             even, odd: two [.., n] join even, odd
//   [.., n]                 -                             [.., 2n], interleaved reduce        x
//   {axis, Reduction}             axis kept with extent 1
//                 argmax/argmin give i32 indices; ties take the lower index; NaN loses to any
//                 number
//   scan          x                                 {axis}                        inclusive sum
//   take          x [.., n], index i32 [.., m]      -                             [.., m], along
//   last axis;
//                                                                                 index outside
//                                                                                 [0,n) gives 0
//   histogram     x i32 [n], [mask i1 [n]]          {bins}                        i32 [bins];
//   outside ignored sort          key [.., n], value i32 [.., n]    {descending} both permuted
//   along last
//                 axis; equal keys: lower value first; NaN keys last
//   lookup        code u8/i32 tile                  {16 x f32 bits}               f32: table[code &
//   15] random_bits   counter u32 tile, seed i64 scalar -                             u32, Philox
//   4x32-10, word 0 dot           a [M,K], b [N,K] or [K,N], acc [M,N]    {b is [K,N]} acc + a*b;
//   a, b both f32,
//                 both bf16, (acc f32) or both i8 (acc i32)
//   dot_scaled    a [M,K], b [N,K], acc [M,N] f32, [a_scale [M|1, K/ga]], [b_scale [N/gn|1, K/gb]]
//                 {has a_scale, has b_scale}; a in bf16,f8e4m3; b in bf16,f8e4m3,f4e2m1;
//                 scales f8e8m0 or f32 (a power of two); sum over k of a*as*b*bs, added to acc
//   for           lo, hi, step (i64 scalars), carried..    one region: params i, carried..; yields
//                 carried..; step > 0; results are the last carried values
//   if            condition (i1 scalar)             two regions, same yields
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera::lang {

enum class Opcode : uint8_t {
#define OPCODE(enumerator, mnemonic) enumerator,
#include "tessera/lang/opcode.inc"
};

inline constexpr int kOpcodeCount = static_cast<int>(Opcode::kIf) + 1;

std::string_view mnemonic(Opcode op);

enum class Predicate : uint8_t {
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe
};  // f32: ordered; kNe: unordered or !=
enum class Reduction : uint8_t { kSum, kMax, kMin, kArgMax, kArgMin };

std::string_view name(Predicate predicate);  // "eq"
std::string_view name(Reduction reduction);  // "argmax"

}  // namespace tessera::lang
