// SPDX-License-Identifier: Apache-2.0
// The rotation of rope undone: applied to the attention output at the position of its query.
#pragma once

#include <cmath>
#include <vector>

#include "tessera/ops/rope/rope.h"

namespace tessera::ops {

struct RopeInverse {
  static Signature signature() {
    Signature s = Rope::signature();
    s.name = "rope_inverse";
    s.rows = "9";
    s.summary = "Rotation by the negative angle on the last 64 dimensions of each head.";
    s.formula =
        "with c = cos[pos[t], i], s = sin[pos[t], i], i = 0..31, and (a, b) the elements D-64+2i "
        "and "
        "D-64+2i+1 of x[t, h, :]:\n"
        "(a, b) <- (a c + b s, b c - a s) in f32, rounded once\n"
        "x [T, H, D] bf16, positions [T], cos and sin [P, 32] f32; y as in rope.";
    s.source = "model.py:534";
    return s;
  }

  static void plan(PlanBuilder& b) { Rope::plan_rotation(b, /*inverse=*/true); }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D"), table = r.dim("P");
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const int64_t p = Rope::table_row(r, t);
      const bool inside = p >= 0 && p < table;
      for (int64_t h = 0; h < r.dim("H"); ++h) {
        Expected& to = r.out(r.has("y") ? "y" : "x");
        if (r.has("y"))
          for (int64_t d = 0; d < width - 64; ++d) to.set({t, h, d}, r.in("x").at({t, h, d}));
        for (int64_t i = 0; i < 32; ++i) {
          const int64_t d = width - 64 + 2 * i;
          const double a = r.in("x").at({t, h, d}), b = r.in("x").at({t, h, d + 1});
          const double c = inside ? r.in("cos").at({p, i}) : 0,
                       s = inside ? r.in("sin").at({p, i}) : 0;
          to.set({t, h, d}, a * c + b * s, std::abs(a * c) + std::abs(b * s));
          to.set({t, h, d + 1}, b * c - a * s, std::abs(b * c) + std::abs(a * s));
        }
      }
    }
  }

  static std::vector<Case> cases() { return Rope::rotation_cases(); }
  static void fill(Inputs& in) { Rope::fill_rotation(in); }
  /// As rope.
  static Tolerance tolerance(const Problem& p) { return Rope::tolerance(p); }
  static Cost cost(const Problem& p) { return Rope::cost(p); }
};

}  // namespace tessera::ops
