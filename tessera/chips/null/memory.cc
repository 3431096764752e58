// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

namespace tessera::chips::null {
namespace {

using lang::MemoryAccess;
using lang::Opcode;

bool keeps_promise(int64_t number, lang::Divisor divisor) {
  return divisor == 0 ? number == 1 : number % divisor == 0;
}

std::string promise_text(lang::Divisor divisor) {
  return divisor == 0 ? "1" : fmt::format("a multiple of {}", divisor);
}

// A run is `count` tile elements from `first` on, at memory elements from `element` on. Two f4
// elements share a byte, the even one in the low nibble; inside a Value each has a byte of its own.

void read(const std::byte* memory, int64_t element, Value& to, int64_t first, int64_t count) {
  const size_t size = element_bytes(to.dtype());
  std::byte* out = to.bytes() + static_cast<size_t>(first) * size;
  if (to.dtype() != DType::f4e2m1) {
    std::memcpy(out, memory + static_cast<size_t>(element) * size,
                static_cast<size_t>(count) * size);
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    out[i] = memory[(element + i) / 2] >> ((element + i) % 2 * 4) & std::byte{15};
}

void write_nibble(std::byte& byte, int64_t element, std::byte code) {
  const int shift = static_cast<int>(element % 2) * 4;
  byte = (byte & ~(std::byte{15} << shift)) | (code & std::byte{15}) << shift;
}

void write(std::byte* memory, int64_t element, const Value& from, const Value* mask, int64_t first,
           int64_t count) {
  const size_t size = element_bytes(from.dtype());
  const std::byte* in = from.bytes() + static_cast<size_t>(first) * size;
  const bool packed = from.dtype() == DType::f4e2m1;
  if (!packed && mask == nullptr) {
    std::memcpy(memory + static_cast<size_t>(element) * size, in,
                static_cast<size_t>(count) * size);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    if (mask != nullptr && mask->as<uint8_t>()[static_cast<size_t>(first + i)] == 0) continue;
    if (packed) {
      write_nibble(memory[(element + i) / 2], element + i, in[i]);
    } else {
      std::memcpy(memory + static_cast<size_t>(element + i) * size,
                  in + static_cast<size_t>(i) * size, size);
    }
  }
}

/// Other streams may add to the same element.
void add(std::byte* memory, int64_t element, const Value& from, int64_t first, int64_t count) {
  const auto run = [&]<class T>(T) {
    T* to = reinterpret_cast<T*>(memory) + element;
    for (int64_t i = 0; i < count; ++i)
      std::atomic_ref<T>(to[i]).fetch_add(from.as<T>()[static_cast<size_t>(first + i)]);
  };
  from.dtype() == DType::i32 ? run(int32_t{}) : run(int64_t{});
}

}  // namespace

Memory::Memory(const lang::Trace& trace, std::span<const uint64_t> slots, const FindMemory& find)
    : trace_(trace), slots_(slots) {
  for (const lang::ViewDecl& decl : trace.views) {
    BoundView view;
    view.address = slots[decl.address_slot()];
    view.range = find(view.address);
    const int rank = decl.rank();
    view.stride[static_cast<size_t>(rank - 1)] = 1;
    for (int d = 0; d < rank; ++d)
      view.extent[static_cast<size_t>(d)] = static_cast<int64_t>(slots[decl.extent_slot(d)]);
    for (int d = 0; d + 1 < rank; ++d)
      view.stride[static_cast<size_t>(d)] = static_cast<int64_t>(slots[decl.stride_slot(d)]);
    views_.push_back(view);
  }
}

std::string Memory::check_view(const lang::ViewDecl& decl, const BoundView& view) const {
  for (size_t d = 0; d < decl.extent_divisors.size(); ++d)
    if (!keeps_promise(view.extent[d], decl.extent_divisors[d]))
      return fmt::format("view '{}': extent {} is {}, promised to be {}", decl.name, d,
                         view.extent[d], promise_text(decl.extent_divisors[d]));
  for (size_t d = 0; d < decl.stride_divisors.size(); ++d)
    if (!keeps_promise(view.stride[d], decl.stride_divisors[d]))
      return fmt::format("view '{}': stride {} is {}, promised to be {}", decl.name, d,
                         view.stride[d], promise_text(decl.stride_divisors[d]));
  if (view.address % element_bytes(decl.dtype) != 0)
    return fmt::format("view '{}': address {:#x} is not aligned to {}", decl.name, view.address,
                       name(decl.dtype));
  return {};
}

std::string Memory::check_arguments() const {
  for (size_t v = 0; v < views_.size(); ++v)
    if (std::string text = check_view(trace_.views[v], views_[v]); !text.empty()) return text;
  for (const lang::ScalarDecl& decl : trace_.scalars) {
    if (decl.dtype == DType::f32) continue;
    const uint64_t bits = slots_[decl.slot];
    const int64_t number = decl.dtype == DType::i64   ? static_cast<int64_t>(bits)
                           : decl.dtype == DType::i32 ? static_cast<int32_t>(bits)
                                                      : int64_t{static_cast<uint32_t>(bits)};
    if (!keeps_promise(number, decl.divisor))
      return fmt::format("scalar '{}' is {}, promised to be {}", decl.name, number,
                         promise_text(decl.divisor));
  }
  return {};
}

std::string Memory::make_window(const MemoryAccess& access, std::span<const Value> values,
                                const lang::TileShape& shape, Window& window) const {
  window.decl = &trace_.views[access.view];
  window.view = &views_[access.view];
  const int rank = window.decl->rank();
  for (int d = 0; d < rank; ++d) {
    const auto i = static_cast<size_t>(d);
    const int tile_dim = d - (rank - shape.rank());
    window.size[i] = tile_dim < 0 ? 1 : shape[tile_dim];
    window.offset[i] = values[static_cast<size_t>(access.offsets[i])].index();
    window.extent[i] = window.view->extent[i];
    if (access.extent_override[i] < 0) continue;
    const int64_t bound = values[static_cast<size_t>(access.extent_override[i])].index();
    if (bound > window.extent[i])
      return fmt::format("view '{}': extent {} is bounded to {}, beyond its own {}",
                         window.decl->name, d, bound, window.extent[i]);
    window.extent[i] = bound;
  }
  return {};
}

std::string Memory::check_run(const Window& window, Wide element, int64_t count,
                              Direction direction) const {
  const lang::ViewDecl& decl = *window.decl;
  const auto& range = window.view->range;
  if (decl.dtype == DType::f4e2m1 && element % 2 != 0)
    return fmt::format("view '{}': a tile of f4e2m1 starts at element {}, in the middle of a byte",
                       decl.name, static_cast<int64_t>(element));
  if (!range)
    return fmt::format("view '{}': address {:#x} lies in no buffer of the device", decl.name,
                       window.view->address);
  const Wide width = bits(decl.dtype), address = window.view->address;
  const Wide begin = address + element * width / 8;
  const Wide end = begin + (count * width + 7) / 8;
  if (begin < range->begin || end > range->end)
    return fmt::format(
        "view '{}': elements {} to {} lie outside the buffer, which ends at element {}", decl.name,
        static_cast<int64_t>(element), static_cast<int64_t>(element + count - 1),
        static_cast<int64_t>((range->end - address) * 8 / width));
  if (direction == Direction::kWrite && !range->writable)
    return fmt::format("view '{}': the buffer is read-only", decl.name);
  return {};
}

std::string Memory::for_each_run(const Window& window, int64_t first, Direction direction,
                                 const Run& run) const {
  const auto last = static_cast<size_t>(window.decl->rank() - 1);
  // The valid part of the last dimension is the same for every row.
  const Wide start = window.offset[last], size = window.size[last];
  const auto lo = static_cast<int64_t>(std::clamp<Wide>(-start, 0, size));
  const auto hi = static_cast<int64_t>(std::clamp<Wide>(window.extent[last] - start, 0, size));
  if (lo >= hi) return {};
  std::array<int64_t, 4> at{};
  for (;;) {
    bool inside = true;
    Wide element = start + lo;
    for (size_t d = 0; d < last; ++d) {
      const Wide position = Wide{window.offset[d]} + at[d];
      inside &= position >= 0 && position < window.extent[d];
      if (inside) element += position * window.view->stride[d];
    }
    if (inside) {
      if (std::string text = check_run(window, element, hi - lo, direction); !text.empty())
        return text;
      run(first + lo, hi - lo, static_cast<int64_t>(element));
    }
    first += window.size[last];
    size_t d = last;
    for (; d > 0 && ++at[d - 1] == window.size[d - 1]; --d) at[d - 1] = 0;
    if (d == 0) return {};
  }
}

std::string Memory::for_each_row_run(const Window& window, const Value& rows, size_t dim,
                                     Direction direction, const Run& run) const {
  Window row = window;
  row.size[dim] = 1;
  const int64_t width = row.size[static_cast<size_t>(window.decl->rank() - 1)];
  for (int64_t r = 0; r < rows.size(); ++r) {
    const auto i = static_cast<size_t>(r);
    const int64_t index = rows.dtype() == DType::i32   ? rows.as<int32_t>()[i]
                          : rows.dtype() == DType::u32 ? int64_t{rows.as<uint32_t>()[i]}
                                                       : rows.as<int64_t>()[i];
    if (index < 0 || __builtin_add_overflow(window.offset[dim], index, &row.offset[dim])) continue;
    std::string text = for_each_run(row, r * width, direction, run);
    if (!text.empty()) return text;
  }
  return {};
}

std::string Memory::access(const lang::Node& node, std::span<const Value> values, Value* result) {
  const MemoryAccess access = trace_.memory_access(node);
  const auto value = [&](lang::ValueId id) {
    return id < 0 ? nullptr : &values[static_cast<size_t>(id)];
  };
  const Value* tile = result != nullptr ? result : value(access.tile);
  const Value* rows = value(access.rows);
  const DType dtype = tile->dtype();
  Window window;
  if (std::string text = make_window(access, values, tile->shape(), window); !text.empty())
    return text;

  auto* memory = reinterpret_cast<std::byte*>(window.view->address);
  Run run;
  if (result != nullptr) {
    result->fill_raw(raw_constant(dtype, access.fill));
    run = [=](int64_t first, int64_t count, int64_t element) {
      read(memory, element, *result, first, count);
    };
  } else if (node.op == Opcode::kAtomicAdd) {
    run = [=](int64_t first, int64_t count, int64_t element) {
      add(memory, element, *tile, first, count);
    };
  } else {
    const Value* mask = value(access.mask);
    run = [=](int64_t first, int64_t count, int64_t element) {
      write(memory, element, *tile, mask, first, count);
    };
  }
  const Direction direction = result != nullptr ? Direction::kRead : Direction::kWrite;
  if (rows == nullptr) return for_each_run(window, 0, direction, run);
  const int dim = window.decl->rank() - tile->shape().rank();
  return for_each_row_run(window, *rows, static_cast<size_t>(dim), direction, run);
}

}  // namespace tessera::chips::null
