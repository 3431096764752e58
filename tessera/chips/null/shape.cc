// SPDX-License-Identifier: Apache-2.0
// Operations that move elements without looking at them.
#include <algorithm>
#include <array>

#include "tessera/chips/null/operations.h"

namespace tessera::chips::null {
namespace {

using lang::Opcode;
using lang::TileShape;

/// Extents padded on the left to three dimensions.
std::array<int64_t, 3> extents(const TileShape& shape) {
  std::array<int64_t, 3> out = {1, 1, 1};
  for (int d = 0; d < shape.rank(); ++d) out[static_cast<size_t>(d + 3 - shape.rank())] = shape[d];
  return out;
}

/// out[i, j, k] = in[start + i * s0 + j * s1 + k * s2]
template <class T>
void copy_strided(std::span<const T> in, int64_t start, std::array<int64_t, 3> strides,
                  std::span<T> out, std::array<int64_t, 3> shape) {
  size_t o = 0;
  for (int64_t i = 0; i < shape[0]; ++i)
    for (int64_t j = 0; j < shape[1]; ++j) {
      const int64_t row = start + i * strides[0] + j * strides[1];
      for (int64_t k = 0; k < shape[2]; ++k)
        out[o++] = in[static_cast<size_t>(row + k * strides[2])];
    }
}

std::array<int64_t, 3> row_major(std::array<int64_t, 3> shape) {
  return {shape[1] * shape[2], shape[2], 1};
}

template <class T>
void broadcast(const Value& x, Value& out) {
  const auto from = extents(x.shape()), to = extents(out.shape());
  auto strides = row_major(from);
  for (size_t d = 0; d < 3; ++d)
    if (from[d] == 1) strides[d] = 0;
  copy_strided<T>(x.as<T>(), 0, strides, out.as<T>(), to);
}

template <class T>
void transpose(const lang::Node& node, const Value& x, Value& out) {
  const auto from = row_major(extents(x.shape()));
  const size_t pad = 3 - static_cast<size_t>(out.shape().rank());
  std::array<int64_t, 3> strides = {0, 0, 0};
  for (size_t d = 0; d < node.ints.size(); ++d)
    strides[pad + d] = from[pad + static_cast<size_t>(node.ints[d])];
  copy_strided<T>(x.as<T>(), 0, strides, out.as<T>(), extents(out.shape()));
}

template <class T>
void slice(const lang::Node& node, const Value& x, Value& out) {
  const auto strides = row_major(extents(x.shape()));
  const size_t axis = static_cast<size_t>(node.ints[0] + 3 - x.shape().rank());
  copy_strided<T>(x.as<T>(), node.ints[1] * strides[axis], strides, out.as<T>(),
                  extents(out.shape()));
}

template <class T>
void concat(const lang::Node& node, const Value& a, const Value& b, Value& out) {
  const int axis = static_cast<int>(node.ints[0]);
  const AxisView va(a.shape(), axis), vb(b.shape(), axis);
  const size_t from_a = static_cast<size_t>(va.extent * va.inner),
               from_b = static_cast<size_t>(vb.extent * vb.inner);
  auto to = out.as<T>().begin();
  for (size_t o = 0; o < static_cast<size_t>(va.outer); ++o) {
    to = std::ranges::copy(a.as<T>().subspan(o * from_a, from_a), to).out;
    to = std::ranges::copy(b.as<T>().subspan(o * from_b, from_b), to).out;
  }
}

template <class T>
void split(const Value& x, Value& even, Value& odd) {
  const auto in = x.as<T>();
  for (size_t i = 0; i < in.size() / 2; ++i) {
    even.as<T>()[i] = in[2 * i];
    odd.as<T>()[i] = in[2 * i + 1];
  }
}

template <class T>
void join(const Value& even, const Value& odd, Value& out) {
  const auto to = out.as<T>();
  for (size_t i = 0; i < to.size() / 2; ++i) {
    to[2 * i] = even.as<T>()[i];
    to[2 * i + 1] = odd.as<T>()[i];
  }
}

}  // namespace

void evaluate_shape(const lang::Node& node, Operands operands, Results results) {
  const Value& x = *operands[0];
  Value& out = *results[0];
  visit_width(x.dtype(), [&]<class T>(T) {
    switch (node.op) {
      case Opcode::kBroadcast: return broadcast<T>(x, out);
      case Opcode::kReshape: std::ranges::copy(x.as<T>(), out.as<T>().begin()); return;
      case Opcode::kTranspose: return transpose<T>(node, x, out);
      case Opcode::kSlice: return slice<T>(node, x, out);
      case Opcode::kConcat: return concat<T>(node, x, *operands[1], out);
      case Opcode::kSplit: return split<T>(x, out, *results[1]);
      default: return join<T>(x, *operands[1], out);
    }
  });
}

}  // namespace tessera::chips::null
