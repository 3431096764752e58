// SPDX-License-Identifier: Apache-2.0
// Opcodes of a trace and what each one means. A "scalar" is a tile of rank 0.
//
// Arithmetic is done on f32, i32, u32, i64 and (logic only) i1; every other dtype is a storage type
// that is cast first. Shape operations, loads and stores, dot and bitcast take storage types too.
// All operands of an elementwise node have the same shape (the tracer inserts kBroadcast), and the
// same dtype unless stated. type_check.h holds the rules in full.
// clang-format off
//
//   opcode        operands                        ints                         result
//   program_id    -                               {axis}                       i64 scalar
//   num_programs  -                               {axis}                       i64 scalar
//   extent        -                               {view, dim}                  i64 scalar
//   scalar_arg    -                               {scalar index}               scalar
//   constant      -                               {value}                      splat tile
//                 Floats: the f32 bits of a value that is already rounded to the dtype, storage
//                 floats too. Integers: the value. i1: 0 or 1.
//   iota          -                               {axis}                       i32: index along axis
//   load          offsets.., overrides..          {view, override mask, fill}  tile
//   store         offsets.., overrides.., tile, [mask]    {view, override mask, has mask}
//   gather        offsets.., overrides.., rows    {view, override mask, fill}  tile
//   scatter       offsets.., overrides.., rows, tile      {view, override mask}
//   atomic_add    offsets.., overrides.., rows, tile      {view, override mask}; i32 and i64 only
//                 Trace::memory_access decodes these five; MemoryAccess says what they mean.
//   neg .. cos    x                               -                            elementwise
//   cast          x                               -                            dtype of the result
//                 One of: f32, i32, u32, i64 (and from i1) to each other; f32 from and to a storage
//                 float; i32 from and to i8, u8, i16. The tracer splits other casts into two or
//                 three. f32 to integer truncates, out of range is undefined; narrower integers
//                 keep the low bits.
//   bitcast       x                               -                            same width; not i1, f4
//   add .. xor    a, b                            -                            integers wrap
//   compare       a, b                            {Predicate}                  i1
//   select        condition (i1), a, b            -
//   fma           a, b, c: f32                    -                            a * b + c, rounded
//                 once or twice (the chip's choice)
//   shl, shr      a, b: shr is arithmetic for i32 and i64, logical for u32; b outside [0, width) is
//                 undefined
//   div, rem      integers truncate toward zero; division by zero is undefined; rem has no f32
//   min, max      f32: a NaN operand gives NaN
//   broadcast     x                               -                            NumPy: trailing
//                 dimensions aligned, extent 1 stretched, leading dimensions added
//   reshape       x                               -                            row-major order kept
//   transpose     x                               {permutation..}              dim d = x's dim p[d]
//   slice         x                               {axis, start}                window along axis
//   concat        a, b                            {axis}
//   split         x [.., 2n]                      -                            even, odd: two [.., n]
//   join          even, odd [.., n]               -                            [.., 2n], interleaved
//   reduce        x                               {axis, Reduction}            axis of extent 1
//                 max and min with a NaN give NaN. argmax and argmin give i32 indices; ties take
//                 the lower index; NaN loses to any number.
//   scan          x                               {axis}                       inclusive sum
//   take          x [.., n], index i32 [.., m]    -                            [.., m], last axis;
//                 an index outside [0, n) gives 0
//   histogram     x i32 [n], [mask i1 [n]]        {bins}                       i32 [bins]
//                 values outside [0, bins) are ignored
//   sort          key [.., n], value i32 [.., n]  {descending}                 both, permuted along
//                 the last axis; equal keys: lower value first; NaN keys last in both directions
//   lookup        code u8 or i32                  {16 x f32 bits}              f32: table[code & 15]
//   random_bits   counter u32, seed i64 scalar    -                            u32: word 0 of Philox
//                 4x32-10 with counter {counter, 0, 0, 0} and key {seed low 32, seed high 32}
//   dot           a [M,K], b [N,K] or [K,N], acc [M,N]    {b is [K,N]}         acc + a*b
//                 a, b both f32, both bf16 (acc f32) or both i8 (acc i32)
//   dot_scaled    a [M,K], b [N,K], acc [M,N] f32, [a_scale [M|1, K/ga]], [b_scale [N/gn|1, K/gb]]
//                 {has a_scale, has b_scale}; a in bf16,f8e4m3; b in bf16,f8e4m3,f4e2m1;
//                 scales f8e8m0 or f32 (a power of two); sum over k of a*as*b*bs, added to acc
//   for           lo, hi, step (i64 scalars), carried..    one region: params i, carried..; yields
//                 carried..; step > 0; results are the last carried values
//   if            condition (i1 scalar)           two regions, same yields
// clang-format on
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
