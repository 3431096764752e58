// SPDX-License-Identifier: Apache-2.0
// The rules behind check_node, by family of opcodes. Each returns what is wrong, without the
// mnemonic, or an empty string. Private to tessera/lang.
#pragma once

#include <optional>
#include <string>

#include "tessera/lang/type_check.h"

namespace tessera::lang::rules {

std::string check_source(const Trace& declarations, const NodeTypes& node);
std::string check_memory(const Trace& declarations, const NodeTypes& node);
std::string check_elementwise(const NodeTypes& node);
std::string check_shape(const NodeTypes& node);
std::string check_across(const NodeTypes& node);
std::string check_control(const NodeTypes& node);

/// Wrong number of operands, results or ints; -1: any.
std::string check_counts(const NodeTypes& node, int operands, int results, int ints);
bool is_scalar(const TileType& type, DType dtype);
/// "f32[64] is a float; only integers .." : the operand must be one of `allowed`.
std::string require_dtype(const TileType& type, std::initializer_list<DType> allowed);
/// `axis` is no dimension of x.
std::string check_axis(const TileType& x, int64_t axis);
/// `result` is not of that type.
std::string expect(const TileType& result, DType dtype, const TileShape& shape);
/// NumPy broadcasting of two shapes, or nothing.
std::optional<TileShape> broadcast_shapes(const TileShape& a, const TileShape& b);

}  // namespace tessera::lang::rules
