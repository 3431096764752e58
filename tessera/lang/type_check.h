// SPDX-License-Identifier: Apache-2.0
// The typing rules of every opcode, in one place: the tracer asks before it appends a node, the
// parser before it believes a file.
#pragma once

#include <span>
#include <string>

#include "tessera/lang/trace.h"

namespace tessera::lang {

/// A node as the rules see it.
struct NodeTypes {
  Opcode op;
  std::span<const TileType> operands;
  std::span<const TileType> results;
  std::span<const int64_t> ints;
};

/// Nesting of for and if.
inline constexpr int kMaxNesting = 16;
inline constexpr int kMaxViewRank = 4;

/// Arithmetic is done on these; i1 has logic only.
bool is_arithmetic(DType dtype);
/// Has a meaning in kernels at all (f64 has none).
bool is_kernel_dtype(DType dtype);
/// It is one of those that Divisor names.
bool is_divisor(Divisor d);
/// What is cast to before arithmetic.
DType compute_dtype(DType storage);
/// One node of opcode cast can do it.
bool is_single_cast(DType from, DType to);
/// `value` is a legal splat value of `dtype`: see opcode.h, constant.
bool is_constant_value(DType dtype, int64_t value);

/// What is wrong with a node, beginning with its mnemonic, or empty. Any operands, results and ints
/// are accepted. Regions are not looked at.
std::string check_node(const Trace& declarations, const NodeTypes& node);

/// What is wrong with the declarations of arguments, or empty.
std::string check_declarations(const Trace& trace);

/// The whole trace: declarations, ids, visibility, regions, every node. Error: `corrupt`.
Result<void> check_trace(const Trace& trace);

}  // namespace tessera::lang
