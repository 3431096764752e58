// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V4 as plain loops over doubles: the independent reference that the engine is tested
// against. See README.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tests/reference_model/layer.h"

namespace tessera::reference_model {

/// What the model remembers of one sequence.
struct Sequence {
  int64_t length = 0;                  // tokens so far
  std::vector<AttentionState> layers;  // one a layer
  AttentionState mtp;
};

/// `h` is always the residual stream [T, hc_mult * hidden].
class Model {
 public:
  static Result<Model> open(const std::filesystem::path& folder, Mode mode);

  const Config& config() const { return config_; }
  Sequence new_sequence() const { return {0, std::vector<AttentionState>(layers_.size()), {}}; }

  /// Feeds `ids` behind what the sequence holds, in calls of any size; gives h after the last
  /// layer.
  Rows forward(std::span<const int64_t> ids, Sequence& sequence, const Trace& trace = {}) const;

  /// The parts of forward: h in front of layer 0, and one layer.
  Rows embed(std::span<const int64_t> ids) const;
  Rows layer(int64_t index, const Rows& h, std::span<const int64_t> ids, AttentionState& state,
             const Trace& trace = {}) const;

  /// [T, vocab] for every row of h.
  Rows logits(const Rows& h) const;

  /// The draft head: absent when the checkpoint has none of this form. `next_ids` are the tokens
  /// one further than those that made `h`; `mtp_logits` takes what `mtp` gives.
  bool has_mtp() const { return mtp_.has_value(); }
  Rows mtp(const Rows& h, std::span<const int64_t> next_ids, Sequence& sequence,
           const Trace& trace = {}) const;
  Rows mtp_logits(const Rows& mtp_h) const;

 private:
  struct Mtp {
    std::vector<double> enorm, hnorm, norm;
    Matrix e_proj, h_proj;
    Layer layer;
    HyperConnectionHead head;
  };

  explicit Model(Mode mode) : numerics_(mode) {}
  Result<> read_weights();
  Rows head_logits(const Rows& h, const HyperConnectionHead& head,
                   std::span<const double> norm) const;
  Rows embedding_rows(std::span<const int64_t> ids) const;

  Numerics numerics_;
  Config config_{};
  std::shared_ptr<const TensorFiles> files_;  // matrices point into it
  Matrix embed_, head_;
  std::vector<double> norm_;
  HyperConnectionHead hc_head_;
  std::vector<Layer> layers_;
  std::optional<Mtp> mtp_;
};

}  // namespace tessera::reference_model
