// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/model.h"

#include <fmt/format.h>

#include "tests/reference_model/norm.h"

namespace tessera::reference_model {
namespace {

/// Each row `copies` times side by side.
Rows repeat(const Rows& x, int64_t copies) {
  Rows h(x.rows, copies * x.cols);
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t i = 0; i < h.cols; ++i) h[t][i] = x[t][i % x.cols];
  return h;
}

}  // namespace

Result<Model> Model::open(const std::filesystem::path& folder, Mode mode) {
  Model model(mode);
  TESSERA_ASSIGN(const MappedFile config_file, MappedFile::open(folder / "config.json"));
  TESSERA_ASSIGN(model.config_,
                 parse_config(nlohmann::json::parse(config_file.text(), nullptr, false)));
  TESSERA_ASSIGN(TensorFiles files, TensorFiles::open(folder));
  model.files_ = std::make_shared<const TensorFiles>(std::move(files));
  TESSERA_TRY(model.read_weights());
  return model;
}

Result<> Model::read_weights() {
  const Config& c = config_;
  WeightReader weights(*files_);
  embed_ = weights.linear("embed", c.vocab_size, c.hidden_size);
  head_ = weights.linear("head", c.vocab_size, c.hidden_size);
  norm_ = weights.vector("norm.weight", c.hidden_size);
  hc_head_ = HyperConnectionHead(weights, "", c);
  for (int64_t i = 0; i < c.num_hidden_layers; ++i)
    layers_.emplace_back(weights, fmt::format("layers.{}.", i), c, c.compress_ratios[i],
                         i < c.num_hash_layers);
  if (weights.has("mtp.0.e_proj.weight")) {
    mtp_.emplace();
    mtp_->enorm = weights.vector("mtp.0.enorm.weight", c.hidden_size);
    mtp_->hnorm = weights.vector("mtp.0.hnorm.weight", c.hidden_size);
    mtp_->norm = weights.vector("mtp.0.norm.weight", c.hidden_size);
    mtp_->e_proj = weights.linear("mtp.0.e_proj", c.hidden_size, c.hidden_size);
    mtp_->h_proj = weights.linear("mtp.0.h_proj", c.hidden_size, c.hidden_size);
    mtp_->layer = Layer(weights, "mtp.0.", c, 0, false);
    mtp_->head = HyperConnectionHead(weights, "mtp.0.", c);
  }
  if (weights.error()) return *weights.error();
  return {};
}

Rows Model::forward(std::span<const int64_t> ids, Sequence& sequence, const Trace& trace) const {
  Rows h = embed(ids);
  for (size_t i = 0; i < layers_.size(); ++i) h = layer(i, h, ids, sequence.layers[i], trace);
  sequence.length += ids.size();
  return h;
}

Rows Model::embedding_rows(std::span<const int64_t> ids) const {
  Rows x(ids.size(), config_.hidden_size);
  for (size_t t = 0; t < ids.size(); ++t) embed_.decode_row(ids[t], x[t]);
  return x;
}

Rows Model::embed(std::span<const int64_t> ids) const {
  return repeat(embedding_rows(ids), config_.hc_mult);
}

Rows Model::layer(int64_t index, const Rows& h, std::span<const int64_t> ids, AttentionState& state,
                  const Trace& trace) const {
  return layers_[index].forward(numerics_, h, ids, state,
                                trace.within(fmt::format("layers.{}.", index)));
}

Rows Model::logits(const Rows& h) const { return head_logits(h, hc_head_, norm_); }

Rows Model::head_logits(const Rows& h, const HyperConnectionHead& head,
                        std::span<const double> norm) const {
  Rows x = head.forward(numerics_, h);
  rms_norm(numerics_, norm, config_.rms_norm_eps, x);
  return product(head_, x);
}

Rows Model::mtp(const Rows& h, std::span<const int64_t> next_ids, Sequence& sequence,
                const Trace& trace) const {
  TESSERA_CHECK(mtp_.has_value(), "the checkpoint has no MTP head");
  Rows e = embedding_rows(next_ids);
  rms_norm(numerics_, mtp_->enorm, config_.rms_norm_eps, e);
  e = repeat(numerics_.linear(mtp_->e_proj, e), config_.hc_mult);

  Rows copies(h.rows * config_.hc_mult, config_.hidden_size);  // each copy is a row of its own
  copies.values = h.values;
  rms_norm(numerics_, mtp_->hnorm, config_.rms_norm_eps, copies);
  copies = numerics_.linear(mtp_->h_proj, copies);

  Rows x(h.rows, h.cols);
  for (size_t i = 0; i < x.values.size(); ++i)
    x.values[i] = numerics_.bf16(e.values[i] + copies.values[i]);
  return mtp_->layer.forward(numerics_, x, next_ids, sequence.mtp, trace.within("mtp.0."));
}

Rows Model::mtp_logits(const Rows& mtp_h) const {
  return head_logits(mtp_h, mtp_->head, mtp_->norm);
}

}  // namespace tessera::reference_model
