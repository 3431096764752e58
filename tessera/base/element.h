// SPDX-License-Identifier: Apache-2.0
// Access to single elements of a buffer of any DType, packed FP4 included. For references and the
// interpreter: plain, exact, slow.
#pragma once

#include <cstdint>

#include "tessera/base/dtype.h"

namespace tessera {

/// i64, u32, i32 and f64 values that f32 cannot hold are rounded to nearest even.
float load_as_float(DType type, const void* base, int64_t index);

/// Exact for every type but i64 beyond 2^53.
double load_as_double(DType type, const void* base, int64_t index);

/// Integers only; floats are an error of the caller.
int64_t load_as_int(DType type, const void* base, int64_t index);

/// Floats: one correct rounding (nearest even) from the double, overflow as in float_formats.h.
/// Integers: truncated toward zero, saturated, NaN gives 0; i1: value != 0. A packed FP4 store
/// keeps the neighbour in the same byte and is not atomic.
void store_from_double(DType type, void* base, int64_t index, double value);

/// Integers: the low bits (i1: value != 0). Floats: as store_from_double, rounded once.
void store_from_int(DType type, void* base, int64_t index, int64_t value);

}  // namespace tessera
