// SPDX-License-Identifier: Apache-2.0
// Conversions between f32 and the small formats on vectors, bit for bit those of
// tessera/base/float_formats.h, in integer code unless the target has an instruction that agrees.
#pragma once

#include <array>
#include <optional>

#include "tessera/base/dtype.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler {

/// `code` holds register lanes (memory_format.h) of a storage float.
mlir::Value decodeFloat(Emitter& e, DType from, mlir::Value code);
mlir::Value encodeFloat(Emitter& e, DType to, mlir::Value value);
/// The codes of two numbers where one instruction makes both.
std::optional<std::array<mlir::Value, 2>> encodePair(Emitter& e, DType to, mlir::Value first,
                                                     mlir::Value second);

/// Opcode cast.
mlir::Value convert(Emitter& e, DType from, DType to, mlir::Value value);

}  // namespace tessera::compiler
