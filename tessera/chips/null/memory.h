// SPDX-License-Identifier: Apache-2.0
// The five memory operations on host memory. Every access is checked twice: against the extents,
// which is what the language defines, and against the buffer the view points into, which reports
// what on other chips would be a fault or silent damage.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tessera/chips/null/value.h"
#include "tessera/lang/trace.h"

namespace tessera::chips::null {

/// Addresses [begin, end) of a live buffer.
struct MemoryRange {
  uint64_t begin = 0, end = 0;
  bool writable = false;
};

/// The live buffer that holds an address.
using FindMemory = std::function<std::optional<MemoryRange>(uint64_t address)>;

/// The arguments of one launch.
class Memory {
 public:
  /// `slots` as Trace describes them.
  Memory(const lang::Trace& trace, std::span<const uint64_t> slots, const FindMemory& find);

  /// Arguments that break a promise made in the declarations, or empty.
  std::string check_arguments() const;

  int64_t extent(uint32_t view, int dim) const {
    return views_[view].extent[static_cast<size_t>(dim)];
  }
  uint64_t scalar(uint32_t index) const { return slots_[trace_.scalars[index].slot]; }

  /// Performs a memory node. Offsets and the other operands are read from `values`; `result`
  /// belongs to loads and gathers. Returns what is wrong, or empty.
  std::string access(const lang::Node& node, std::span<const Value> values, Value* result);

 private:
  struct BoundView {
    uint64_t address = 0;
    std::array<int64_t, 4> extent{};
    std::array<int64_t, 4> stride{};
    std::optional<MemoryRange> range;
  };
  /// A box of elements, as wide as the tile in every dimension of the view.
  struct Window {
    const lang::ViewDecl* decl = nullptr;
    const BoundView* view = nullptr;
    std::array<int64_t, 4> offset{}, extent{}, size{};
  };
  using Wide = __int128;  // positions and addresses that cannot overflow
  enum class Direction : uint8_t { kRead, kWrite };
  /// Called with the run of tile elements [first, first + count) and the element index in memory.
  using Run = std::function<void(int64_t first, int64_t count, int64_t element)>;

  std::string make_window(const lang::MemoryAccess& access, std::span<const Value> values,
                          const lang::TileShape& shape, Window& window) const;
  std::string for_each_run(const Window& window, int64_t first, Direction direction,
                           const Run& run) const;
  /// `rows` replaces the offset in dimension `dim`.
  std::string for_each_row_run(const Window& window, const Value& rows, size_t dim,
                               Direction direction, const Run& run) const;
  std::string check_run(const Window& window, Wide element, int64_t count,
                        Direction direction) const;
  std::string check_view(const lang::ViewDecl& decl, const BoundView& view) const;

  const lang::Trace& trace_;
  std::span<const uint64_t> slots_;
  std::vector<BoundView> views_;
};

}  // namespace tessera::chips::null
