// SPDX-License-Identifier: Apache-2.0
// Sorts routed pairs by expert and pads every expert's group to whole tiles, so that the grouped
// products have one expert a tile. Nothing returns to the host: the grid of the products is the
// worst case.
#pragma once

#include <utility>

#include "tessera/ops/moe/kernels/alignment.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct MoeAlign {
  static Signature signature() {
    return {
        .name = "moe_align",
        .family = "moe",
        .rows = "55",
        .summary = "pairs sorted by expert, groups padded to tiles",
        .formula =
            "slots i32 [S]: the pairs p = t J + j of expert 0 in ascending order, -1 up to a "
            "multiple of `block`, "
            "those of expert 1, ..; -1 to the end. tile_expert i32 [G]: the expert of slots [g "
            "block, (g+1) block), "
            "-1 beyond the last tile. tile_count i32 [1]. S = G block, G >= ceil(T J / block) + "
            "min(E, T J) "
            "(T J for block 1). Pairs with an id outside [0,E) are left out.",
        .source = "model.py:640 torch.where(indices == i); vLLM moe_align_block_size",
        .tensors = {in("ids", "T,J", {DType::i32}), out("slots", "S", {DType::i32}),
                    out("tile_expert", "G", {DType::i32}), out("tile_count", "1", {DType::i32})},
        .attributes = {{"experts", 256}, {"block", 64}},
        .dynamic_dims = {"T", "S", "G"},
    };
  }

  /// Static sizes.
  struct Sizes {
    int64_t experts, bins, block;
    int64_t chunk;  // pairs sorted at once
  };

  /// Where the groups begin, and what follows from it for the tiles.
  struct Groups {
    Tile counts, starts;              // i32 [bins]: pairs of each expert, exclusive sum
    Tile padded_starts, padded_ends;  // i32 [bins]: the same in slots
  };

  static Groups groups(Tile counts, const Sizes& z) {
    const Tile padded = ceil_div(counts, z.block) * z.block;
    const Tile ends = scan_sum(padded, 0);
    return {counts, scan_sum(counts, 0) - counts, ends - padded, ends};
  }

  static Tile scalar_of(Tile one) { return reshape(one, {}); }
  static Tile total_slots(const Groups& g) { return scalar_of(reduce_max(g.padded_ends, 0)); }

  /// tile_expert and tile_count.
  static void store_tiles(KernelBuilder& k, const Groups& g, const Sizes& z,
                          const View& tile_expert, const View& tile_count) {
    constexpr int64_t kStep = 16;
    const Tile total = total_slots(g);
    store(tile_count, {0}, reshape(total / z.block, {1}));
    k.for_range(0, tile_expert.extent(0), kStep, [&](Tile tile) {
      const Tile slot = (k.iota({kStep, 1}, 0) + cast(tile, DType::i32)) * z.block;
      // As many groups end at or before the slot as there are experts in front of its own.
      const Tile before =
          reduce_sum(cast(reshape(g.padded_ends, {1, z.bins}) <= slot, DType::i32), 1);
      store(tile_expert, {tile}, reshape(select(slot < total, before, -1), {kStep}));
    });
  }

  /// Pairs [lo, lo + chunk) sorted by expert, and their number for each expert. Others have key
  /// `bins`.
  struct Sorted {
    Tile experts, pairs;  // i32 [chunk]
    Tile counts;          // i32 [bins]
  };
  static Sorted sorted(KernelBuilder& k, const View& ids, Tile lo, const Sizes& z) {
    const Tile id = load(ids, {lo}, {z.chunk}, -1);
    const Tile good = (id >= 0) & (id < z.experts);
    const Tile pair = k.iota({z.chunk}, 0) + cast(lo, DType::i32);
    auto [key, value] =
        sort(select(good, id, static_cast<int>(z.bins)), pair, /*descending=*/false);
    return {key, value, histogram(key, z.bins)};
  }

  static void plan(PlanBuilder& b) {
    const auto experts = static_cast<int64_t>(b.attribute("experts"));
    const int64_t pairs = b.dim("T") * b.dim("J");
    const int64_t bound = pow2_ceil(b.m_class("T") * b.dim("J"));
    const Sizes z{experts, pow2_ceil(experts), static_cast<int64_t>(b.attribute("block")),
                  std::min(bound, b.caps().sort_tile)};
    Arg ids = b.tensor("ids").reshaped({pairs});
    ids.dynamic = {true};
    if (z.chunk == bound && b.m_class("T") <= 64) {
      plan_one_sort(b, z, ids);
    } else {
      plan_chunks(b, z, ids, std::max<int64_t>(1, (pairs + z.chunk - 1) / z.chunk));
    }
  }

  /// All pairs fit one sort: every slot looks its pair up.
  static void plan_one_sort(PlanBuilder& b, const Sizes& z, const Arg& ids) {
    b.kernel("sort", {1}, {ids, b.tensor("slots"), b.tensor("tile_expert"), b.tensor("tile_count")},
             [=](KernelBuilder& k, View ids, View slots, View tile_expert, View tile_count) {
               const Sorted s = sorted(k, ids, k.index(0), z);
               const Groups g = groups(s.counts, z);
               store_tiles(k, g, z, tile_expert, tile_count);
               const Tile total = total_slots(g);
               constexpr int64_t kStep = 16;
               k.for_range(0, slots.extent(0), kStep, [&](Tile first) {
                 const Tile slot = k.iota({kStep}, 0) + cast(first, DType::i32);
                 const Tile ends = reshape(g.padded_ends, {1, z.bins});
                 const Tile before =
                     reduce_sum(cast(ends <= reshape(slot, {kStep, 1}), DType::i32), 1);
                 const Tile expert = min(reshape(before, {kStep}), static_cast<int>(z.bins - 1));
                 const Tile rank = slot - take(g.padded_starts, expert);
                 const Tile pair = take(s.pairs, take(g.starts, expert) + rank);
                 const Tile used = (slot < total) & (rank < take(g.counts, expert));
                 store(slots, {first}, select(used, pair, -1));
               });
             });
  }

  /// Counts by chunk, one pass over the chunks for where each one's share of a group begins, then
  /// every chunk places its pairs.
  static void plan_chunks(PlanBuilder& b, const Sizes& z, const Arg& ids, int64_t chunks) {
    const Arg counts = b.workspace("counts", DType::i32, {chunks, z.bins}, {true, false});
    const Arg starts = b.workspace("starts", DType::i32, {chunks, z.bins}, {true, false});
    const Arg slots = b.tensor("slots");
    const int64_t clear = b.caps().program_grain;
    const int64_t clear_programs = (b.dim("S") + clear - 1) / clear;
    b.kernel("count", {chunks}, {ids, counts.with_access(Access::kWrite)},
             [=](KernelBuilder& k, View ids, View counts) {
               const Tile chunk = k.program_id(0);
               const Tile id = load(ids, {chunk * z.chunk}, {z.chunk}, -1);
               store(counts, {chunk, 0}, histogram_masked(id, id < z.experts, z.bins));
             });
    b.kernel("clear", {clear_programs}, {slots}, [=](KernelBuilder& k, View slots) {
      store(slots, {k.program_id(0) * clear}, k.constant(DType::i32, {clear}, -1));
    });
    b.kernel("offsets", {1},
             {counts.with_access(Access::kRead), starts.with_access(Access::kWrite),
              b.tensor("tile_expert"), b.tensor("tile_count")},
             [=](KernelBuilder& k, View counts, View starts, View tile_expert, View tile_count) {
               auto add = [&](Tile c, Tile sum) {
                 return lang::carry(sum + load(counts, {c, 0}, {z.bins}));
               };
               const Tile none = k.zeros(DType::i32, {z.bins});
               const Groups g =
                   groups(k.for_range(0, counts.extent(0), 1, lang::carry(none), add)[0], z);
               store_tiles(k, g, z, tile_expert, tile_count);
               k.for_range(0, counts.extent(0), 1, lang::carry(g.padded_starts),
                           [&](Tile c, Tile start) {
                             store(starts, {c, 0}, start);
                             return lang::carry(start + load(counts, {c, 0}, {z.bins}));
                           });
             });
    b.kernel("place", {chunks}, {ids, starts.with_access(Access::kRead), slots},
             [=](KernelBuilder& k, View ids, View starts, View slots) {
               const Tile chunk = k.program_id(0);
               const Sorted s = sorted(k, ids, chunk * z.chunk, z);
               const Tile in_chunk = scan_sum(s.counts, 0) - s.counts;
               const Tile shift = load(starts, {chunk, 0}, {z.bins}) - in_chunk;
               const Tile slot = k.iota({z.chunk}, 0) + take(shift, s.experts);
               scatter(slots, {0}, select(s.experts < z.experts, slot, -1), s.pairs);
             });
  }

  static void reference(const Reference& r) {
    const auto block = static_cast<int64_t>(r.attribute("block"));
    const moe::Alignment a =
        moe::align(r.in("ids"), static_cast<int64_t>(r.attribute("experts")), block);
    for (int64_t s = 0; s < r.dim("S"); ++s)
      r.out("slots").set(
          {s}, s < std::ssize(a.slots) ? static_cast<double>(a.slots[static_cast<size_t>(s)]) : -1);
    for (int64_t g = 0; g < r.dim("G"); ++g)
      r.out("tile_expert")
          .set({g}, g < std::ssize(a.tile_expert)
                        ? static_cast<double>(a.tile_expert[static_cast<size_t>(g)])
                        : -1);
    r.out("tile_count").set({0}, static_cast<double>(a.tile_expert.size()));
  }

  static void fill(Inputs& in) {
    HostTensor& ids = in.tensor("ids");
    moe::fill_routing(in, ids, static_cast<int64_t>(in.problem().attribute("experts")));
    if (in.test_case().note == "outside")
      for (int64_t p = 0; p < ids.numel(); p += 3)
        ids.set_flat(p, p % 2 ? -1 : in.problem().attribute("experts") + static_cast<double>(p));
  }

  static Case use(int64_t T, int64_t experts, int64_t block, std::string note = {}) {
    const int64_t tiles = moe::max_tiles(T * 6, experts, block);
    return {.dims = {{"T", T}, {"J", 6}, {"G", tiles}, {"S", tiles * block}},
            .attributes = {{"experts", static_cast<double>(experts)},
                           {"block", static_cast<double>(block)}},
            .note = std::move(note)};
  }

  static std::vector<Case> cases() {
    std::vector<Case> list = {use(1, 256, 1),
                              use(3, 256, 1),
                              use(8, 24, 8),
                              use(9, 256, 16),
                              use(43, 24, 16),
                              use(65, 24, 32),
                              use(200, 256, 64),
                              use(0, 24, 16),
                              use(9, 24, 8, "one expert"),
                              use(180, 24, 64, "one expert"),
                              use(9, 24, 8, "empty experts"),
                              use(100, 24, 16, "empty experts"),
                              use(9, 24, 8, "outside"),
                              use(100, 24, 16, "outside")};
    for (auto [T, block] :
         {std::pair<int64_t, int64_t>{1, 1}, {8, 1}, {64, 8}, {512, 64}, {4096, 64}}) {
      const Case c = use(T, 256, block);
      list.push_back(bench_case(c.dims, c.dtypes, c.attributes, c.note));
    }
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("ids").bytes()),
            .bytes_written = static_cast<double>(p.tensor("slots").bytes() +
                                                 p.tensor("tile_expert").bytes() + 4)};
  }
};

}  // namespace tessera::ops
