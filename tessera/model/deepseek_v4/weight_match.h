// SPDX-License-Identifier: Apache-2.0
// A checkpoint held against the weight table.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tessera/model/deepseek_v4/sharding.h"
#include "tessera/model/deepseek_v4/weight_table.h"

namespace tessera::model::deepseek_v4 {

struct WeightMatch {
  struct Amount {
    int64_t tensors = 0;
    uint64_t bytes = 0;
  };
  enum class Fault : uint8_t { missing, misshapen, wrong_dtype, surplus };
  struct Problem {
    Fault fault;
    std::string name;
    std::string detail;  // "BF16 [3, 4], expected BF16 [4, 4]"
    bool is_draft = false;
  };

  /// What the table expects for the draft layers found, in its order.
  std::vector<WeightSpec> weights;
  std::vector<Problem> problems;
  int64_t draft_layers = 0;  // blocks mtp.N in the checkpoint
  /// Of the tensors that are there and as expected.
  std::array<Amount, kWeightKinds> trunk{}, draft{};

  int64_t count(Fault fault) const;
  enum class Part : uint8_t { trunk, trunk_and_draft };
  /// Nothing the part needs is missing or wrong. Error: corrupt, with counts and the first names.
  Result<> check(Part part) const;
};

/// A checkpoint without any block mtp.N is complete: it has no draft head. Experts of other ranks,
/// by `shards`, may be missing.
WeightMatch match_weights(const checkpoint::Checkpoint& checkpoint, const Config& config,
                          const Shards& shards = {});

}  // namespace tessera::model::deepseek_v4
