// SPDX-License-Identifier: Apache-2.0
// Shape changes, reductions, sort, indexed rows and carried tiles of compiled kernels.
#include <limits>

#include "tessera/chips/cpu/target_differential.h"

namespace tessera::chips::cpu {
namespace {

using lang::Access;
using lang::carry;
using lang::KernelBuilder;
using lang::Tile;
using lang::TileShape;
using lang::View;

double wave(int64_t i) { return std::sin(0.37 * static_cast<double>(i)) * 3; }
int64_t hash(int64_t i) { return (i * 2654435761) >> 7 & 0xffff; }

TestTensor zeros(DType dtype, std::vector<int64_t> shape) {
  return tensor(dtype, std::move(shape), [](int64_t) { return 0.0; });
}

/// x [rows, columns] f32 in, out of another shape, one program.
void runMap(std::vector<int64_t> in, DType outType, std::vector<int64_t> out, TileShape tile,
            const std::function<Tile(KernelBuilder&, Tile)>& function, double tolerance = 0) {
  Differential test({tensor(DType::f32, in, wave), zeros(outType, out)});
  test.tolerance = tolerance;
  test.run([&](KernelBuilder& k) {
    View x = k.view("x", DType::f32, static_cast<int>(in.size()), Access::kRead);
    View y = k.view("y", outType, static_cast<int>(out.size()), Access::kWrite);
    Tile loaded = in.size() == 3   ? load(x, {0, 0, 0}, tile)
                  : in.size() == 2 ? load(x, {0, 0}, tile)
                                   : load(x, {0}, tile);
    Tile result = function(k, loaded);
    if (out.size() == 3) store(y, {0, 0, 0}, result);
    if (out.size() == 2) store(y, {0, 0}, result);
    if (out.size() == 1) store(y, {0}, result);
  });
}

TEST(CpuTarget, FindsTheLargestMagnitudeOfBf16AlongEveryAxis) {
  const auto number = [](int64_t i) {
    if (i % 251 == 250) return i % 2 == 0 ? -INFINITY : static_cast<double>(NAN);
    return std::ldexp(wave(i), static_cast<int>(i % 5 - 130 * (i / 64 % 2)));
  };
  for (auto [rows, columns] : {std::pair{4, 128}, {64, 8}, {3, 64}, {1, 16}, {32, 1}, {1, 1}}) {
    for (int axis : {0, 1}) {
      const std::vector<int64_t> out =
          axis == 0 ? std::vector<int64_t>{1, columns} : std::vector<int64_t>{rows, 1};
      Differential test({tensor(DType::bf16, {rows, columns}, number), zeros(DType::i32, out)});
      test.run([&](KernelBuilder& k) {
        View x = k.view("x", DType::bf16, 2, Access::kRead);
        View y = k.view("y", DType::i32, 2, Access::kWrite);
        const int64_t high = rows == 3 ? 4 : rows;
        const Tile flat = cast(load(x, {0, 0}, {high, columns}), DType::f32);
        const Tile bits = bitcast(reshape(flat, {high, columns}), DType::i32) & 0x7fffffff;
        store(y, {0, 0}, reduce_max(bits, axis));
      });
    }
  }
}

TEST(CpuTarget, ReducesAlongEveryAxis) {
  for (auto [rows, columns] : {std::pair{4, 256}, {64, 8}, {32, 1024}, {1, 16}, {128, 1}, {2, 4}}) {
    for (int axis : {0, 1}) {
      const std::vector<int64_t> out =
          axis == 0 ? std::vector<int64_t>{1, columns} : std::vector<int64_t>{rows, 1};
      const TileShape tile{rows, columns};
      const std::vector<int64_t> in = {rows, columns};
      runMap(
          in, DType::f32, out, tile,
          [=](KernelBuilder&, Tile x) { return reduce_sum(x * 2, axis); }, 1e-3);
      runMap(in, DType::f32, out, tile,
             [=](KernelBuilder&, Tile x) { return reduce_max(x, axis); });
      runMap(in, DType::f32, out, tile,
             [=](KernelBuilder&, Tile x) { return reduce_min(x + 1, axis); });
      runMap(in, DType::i32, out, tile, [=](KernelBuilder&, Tile x) {
        return argmax(cast(cast(x, DType::i32), DType::f32), axis);
      });
      runMap(in, DType::i32, out, tile, [=](KernelBuilder&, Tile x) { return argmin(x, axis); });
      runMap(
          in, DType::f32, in, tile, [=](KernelBuilder&, Tile x) { return scan_sum(x, axis); },
          1e-2);
      runMap(in, DType::i32, in, tile,
             [=](KernelBuilder&, Tile x) { return scan_sum(cast(x * 10, DType::i32), axis); });
    }
  }
}

TEST(CpuTarget, ArgmaxIgnoresNan) {
  const double nan = std::nan("");
  Differential test({tensor(DType::f32, {3, 64},
                            [&](int64_t i) { return i < 64       ? nan
                                                    : i % 3 == 0 ? nan
                                                                 : wave(i); }),
                     zeros(DType::i32, {3, 1}), zeros(DType::i32, {1, 64}),
                     zeros(DType::f32, {3, 1})});
  test.run([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 2, Access::kRead),
         y = k.view("y", DType::i32, 2, Access::kWrite);
    View z = k.view("z", DType::i32, 2, Access::kWrite),
         m = k.view("m", DType::f32, 2, Access::kWrite);
    Tile v = load(x, {0, 0}, {4, 64}, -100);
    store(y, {0, 0}, argmax(v, 1));
    store(z, {0, 0}, argmin(v, 0));
    store(m, {0, 0}, reduce_max(v, 1));
  });
}

TEST(CpuTarget, ChangesShapes) {
  runMap({16, 64}, DType::f32, {64, 16}, {16, 64},
         [](KernelBuilder&, Tile x) { return transpose(x, {1, 0}); });
  runMap({4, 8, 32}, DType::f32, {32, 4, 8}, {4, 8, 32},
         [](KernelBuilder&, Tile x) { return transpose(x + 1, {2, 0, 1}); });
  runMap({1, 512}, DType::f32, {8, 64}, {1, 512},
         [](KernelBuilder&, Tile x) { return reshape(x, {8, 64}); });
  runMap({64, 2}, DType::f32, {128}, {64, 2},
         [](KernelBuilder&, Tile x) { return reshape(x * x, {128}); });
  runMap({128}, DType::f32, {2, 4, 16}, {128},
         [](KernelBuilder&, Tile x) { return reshape(x, {2, 4, 16}); });
  runMap({2, 512}, DType::f32, {2, 64}, {2, 512},
         [](KernelBuilder&, Tile x) { return slice(x, 1, 448, 64); });
  runMap({8, 64}, DType::f32, {4, 64}, {8, 64},
         [](KernelBuilder&, Tile x) { return slice(x, 0, 3, 4); });
  runMap({1, 64}, DType::f32, {1, 8}, {1, 64},
         [](KernelBuilder&, Tile x) { return slice(reshape(x + 1, {1, 64}), 1, 3, 8); });
  runMap(
      {1, 64}, DType::f32, {32, 64}, {1, 64},
      [](KernelBuilder&, Tile x) { return broadcast(exp(x), {32, 64}); }, 1e-4);
  runMap({16, 1}, DType::f32, {16, 64}, {16, 1},
         [](KernelBuilder&, Tile x) { return broadcast(x * 2, {16, 64}); });
  runMap({4, 64}, DType::f32, {8, 64}, {4, 64},
         [](KernelBuilder&, Tile x) { return concat(x, -x, 0); });
  runMap({4, 64}, DType::f32, {4, 128}, {4, 64},
         [](KernelBuilder&, Tile x) { return concat(x, x + 1, 1); });
  runMap({2, 2}, DType::f32, {2, 1}, {2, 2}, [](KernelBuilder&, Tile x) {
    auto [a, b] = split(x);
    return a - b * 2;
  });
  runMap({8, 128}, DType::f32, {8, 128}, {8, 128}, [](KernelBuilder&, Tile x) {
    auto [even, odd] = split(x);
    return join(even * 2 - odd, odd * 3 + even);
  });
  runMap({1, 64}, DType::f32, {64, 1}, {1, 64},
         [](KernelBuilder&, Tile x) { return reshape(x, {64, 1}); });
}

TEST(CpuTarget, UsesIotaAndReducedBlocks) {
  runMap({4, 256}, DType::f32, {4, 256}, {4, 256}, [](KernelBuilder& k, Tile x) {
    Tile blocks = reshape(x, {16, 64});
    Tile scale = reduce_max(abs(blocks), 1);
    Tile scaled = reshape(blocks / scale, {4, 256});
    return select(k.iota({4, 256}, 1) < 200, scaled, cast(k.iota({4, 256}, 0), DType::f32));
  });
}

TEST(CpuTarget, SortsKeysOfEveryType) {
  for (DType dtype : {DType::f32, DType::i32, DType::u32, DType::i64}) {
    for (bool descending : {false, true}) {
      for (int64_t n : {2, 8, 64, 1024}) {
        Differential test({tensor(dtype, {2, n}, [](int64_t i) { return (hash(i) % 97 - 48) * 3; }),
                           tensor(DType::i32, {2, n}, [](int64_t i) { return i * 5 % 1024; }),
                           zeros(dtype, {2, n}), zeros(DType::i32, {2, n})});
        test.run([&](KernelBuilder& k) {
          View x = k.view("x", dtype, 2, Access::kRead),
               v = k.view("v", DType::i32, 2, Access::kRead);
          View y = k.view("y", dtype, 2, Access::kWrite),
               w = k.view("w", DType::i32, 2, Access::kWrite);
          auto [keys, values] = sort(load(x, {0, 0}, {2, n}), load(v, {0, 0}, {2, n}), descending);
          store(y, {0, 0}, keys);
          store(w, {0, 0}, values);
        });
      }
    }
  }
}

TEST(CpuTarget, SortsNanLast) {
  Differential test(
      {tensor(DType::f32, {64}, [](int64_t i) { return i % 5 == 0 ? std::nan("") : wave(i); }),
       zeros(DType::f32, {64}), zeros(DType::i32, {64})});
  test.run([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 1, Access::kRead),
         y = k.view("y", DType::f32, 1, Access::kWrite);
    View w = k.view("w", DType::i32, 1, Access::kWrite);
    auto [keys, values] = sort(load(x, {0}, {64}), k.iota({64}, 0), true);
    store(y, {0}, keys);
    store(w, {0}, values);
  });
}

TEST(CpuTarget, TakesAndCounts) {
  Differential test({tensor(DType::f32, {2, 64}, wave),
                     tensor(DType::i32, {2, 32}, [](int64_t i) { return hash(i) % 80 - 8; }),
                     zeros(DType::f32, {2, 32}), zeros(DType::i32, {16}), zeros(DType::i32, {16})});
  test.run([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 2, Access::kRead),
         i = k.view("i", DType::i32, 2, Access::kRead);
    View y = k.view("y", DType::f32, 2, Access::kWrite),
         h = k.view("h", DType::i32, 1, Access::kWrite);
    View g = k.view("g", DType::i32, 1, Access::kWrite);
    Tile index = load(i, {0, 0}, {2, 32});
    store(y, {0, 0}, take(load(x, {0, 0}, {2, 64}), index));
    Tile flat = reshape(index, {64});
    store(h, {0}, histogram(flat, 16));
    store(g, {0}, histogram_masked(flat, k.iota({64}, 0) > 20, 16));
  });
}

TEST(CpuTarget, GathersAndScattersRows) {
  for (DType dtype : {DType::f32, DType::bf16, DType::f8e4m3, DType::f4e2m1}) {
    Differential test({tensor(dtype, {10, 80}, wave),
                       tensor(DType::i32, {16}, [](int64_t i) { return i * 7 % 13 - 2; }),
                       zeros(dtype, {16, 64}), zeros(dtype, {16, 80})});
    test.run([&](KernelBuilder& k) {
      View x = k.view("x", dtype, 2, Access::kRead), i = k.view("i", DType::i32, 1, Access::kRead);
      View y = k.view("y", dtype, 2, Access::kWrite), z = k.view("z", dtype, 2, Access::kWrite);
      Tile rows = load(i, {0}, {16});
      Tile picked = gather(x, {1, 32}, rows, 64, 2);
      store(y, {0, 0}, picked);
      scatter(z, {0, 48}, select(k.iota({16}, 0) < 9, k.iota({16}, 0) * 3, -1), picked);
    });
  }
}

TEST(CpuTarget, AddsAtomically) {
  for (DType dtype : {DType::i32, DType::i64}) {
    Differential test({tensor(DType::i32, {64}, [](int64_t i) { return hash(i) % 11 - 1; }),
                       zeros(dtype, {8}), zeros(dtype, {8, 5})});
    test.run(
        [&](KernelBuilder& k) {
          View i = k.view("i", DType::i32, 1, Access::kRead),
               y = k.view("y", dtype, 1, Access::kReadWrite);
          View z = k.view("z", dtype, 2, Access::kReadWrite);
          Tile rows = load(i, {k.program_id(0) * 16}, {16});
          atomic_add(y, {0}, rows, k.constant(dtype, {16}, 2));
          atomic_add(z, {0, 2}, rows, k.constant(dtype, {16, 4}, 3));
        },
        {.x = 4});
  }
}

TEST(CpuTarget, StoresUnderMasksAtEdges) {
  for (DType dtype : {DType::f32, DType::bf16, DType::i8, DType::f4e2m1}) {
    Differential test({tensor(dtype, {7, 70}, wave), zeros(dtype, {7, 70})});
    test.run(
        [&](KernelBuilder& k) {
          View x = k.view("x", dtype, 2, Access::kRead), y = k.view("y", dtype, 2, Access::kWrite);
          Tile r = k.program_id(0) * 4, c = k.program_id(1) * 32 - 16;
          Tile v = load(x, {r, c}, {4, 32}, 1);
          store_masked(y, {r, c}, v, k.iota({4, 32}, 1) % 3 != 0);
        },
        {.x = 2, .y = 4});
  }
}

TEST(CpuTarget, CarriesTilesThroughLoopsAndBranches) {
  Differential test(
      {tensor(DType::f32, {32, 64}, wave), zeros(DType::f32, {3, 64}), zeros(DType::i64, {1})});
  test.tolerance = 1e-4;
  test.run([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 2, Access::kRead),
         y = k.view("y", DType::f32, 2, Access::kWrite);
    View n = k.view("n", DType::i64, 1, Access::kWrite);
    // Swaps two carried tiles, rotates one into the other, counts.
    auto [a, b, count] = k.for_range(
        0, x.extent(0), 2,
        carry(k.zeros(DType::f32, {1, 64}), k.constant(DType::f32, {1, 64}, 1), k.index(0)),
        [&](Tile i, Tile p, Tile q, Tile c) {
          auto [r] = k.if_(
              i < 16, [&] { return carry(load(x, {i, 0}, {1, 64})); },
              [&] { return carry(p * 0.5); });
          Tile turned = reshape(transpose(reshape(p, {8, 8}), {1, 0}), {1, 64});
          return carry(q + r, turned * 0.9, c + i);
        });
    store(y, {0, 0}, a);
    store(y, {1, 0}, b);
    store(y, {2, 0}, a + b);
    store(n, {0}, reshape(count, {1}));
  });
}

TEST(CpuTarget, ReadsBeforeItOverwrites) {
  Differential test({tensor(DType::f32, {2, 64}, wave)});
  test.run([](KernelBuilder& k) {
    View x = k.view("x", DType::f32, 2, Access::kReadWrite);
    Tile a = load(x, {0, 0}, {1, 64}), b = load(x, {1, 0}, {1, 64});
    store(x, {0, 0}, b);  // a swap
    store(x, {1, 0}, a);
    Tile c = load(x, {0, 0}, {1, 64});
    store(x, {0, 1}, c);  // a shift by one
    Tile d = load(x, {1, 0}, {1, 64});
    store(x, {1, 0}, reshape(transpose(reshape(d, {8, 8}), {1, 0}), {1, 64}));
  });
}

TEST(CpuTarget, MultipliesMatrices) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (auto [m, n, depth] : {std::tuple{1, 4, 64}, {4, 4, 128}, {16, 16, 32}, {32, 64, 64}}) {
      Differential test({tensor(dtype, {m, 300}, wave),
                         tensor(dtype, {n, 300}, [](int64_t i) { return wave(i * 3 + 1); }),
                         zeros(DType::f32, {m, n})});
      test.tolerance = 0.02;
      test.run([&](KernelBuilder& k) {
        View a = k.view("a", dtype, 2, Access::kRead), b = k.view("b", dtype, 2, Access::kRead);
        View c = k.view("c", DType::f32, 2, Access::kWrite);
        auto [sum] = k.for_range(
            0, a.extent(1), depth, carry(k.constant(DType::f32, {m, n}, 1)), [&](Tile i, Tile s) {
              return carry(dot(load(a, {0, i}, {m, depth}), load(b, {0, i}, {n, depth}), s));
            });
        store(c, {0, 0}, sum);
      });
    }
  }
}

}  // namespace
}  // namespace tessera::chips::cpu
