// SPDX-License-Identifier: Apache-2.0
// One tensor of a random checkpoint: what its header entry says and how its bytes are made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tessera::reference_model {

struct RandomTensor {
  enum class Fill {
    number,  // F32 or BF16: mean + deviation x about normal
    code,    // F8_E4M3 or I8 (two E2M1): such numbers divided by the scale of their block
    scale,   // F8_E8M0: of the codes in `name` with .weight for .scale
    choice,  // I64: distinct numbers below `below` in each row
  };

  std::string name, dtype;
  std::vector<int64_t> shape;  // as stored: I8 has half the logical columns
  Fill fill = Fill::number;
  double mean = 0, deviation = 1;
  int64_t below = 0;  // of a choice
  bool fp4 = false;   // of codes and scales

  int64_t bytes() const;
  /// The bytes of row `row`; a vector is one row.
  std::vector<std::byte> make_row(uint64_t seed, int64_t row) const;
  int64_t rows() const { return shape.size() == 1 ? 1 : shape[0]; }
  int64_t cols() const { return shape.back(); }
};

}  // namespace tessera::reference_model
