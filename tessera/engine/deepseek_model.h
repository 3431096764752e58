// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V4 as the engine sees it.
#pragma once

#include <memory>
#include <vector>

#include "tessera/engine/language_model.h"
#include "tessera/model/deepseek_v4/model.h"

namespace tessera::engine {

class DeepSeekModel : public LanguageModel {
 public:
  explicit DeepSeekModel(std::unique_ptr<model::deepseek_v4::Model> model)
      : model_(std::move(model)) {}

  const model::deepseek_v4::Model& model() const { return *model_; }

  int64_t vocabulary() const override { return model_->config().vocab_size; }
  int64_t context() const override { return model_->context(); }
  int32_t sequences() const override { return static_cast<int32_t>(model_->options().sequences); }
  int64_t largest_step() const override { return model_->options().largest_step; }
  int64_t rollback() const override { return model::deepseek_v4::CacheLayout::kRollback; }
  bool drafts() const override { return model_->options().mtp; }
  bool snapshots() const override { return model_->options().snapshots; }
  Result<> save(int32_t sequence) override { return model_->save(sequence); }
  Result<> restore(int32_t sequence) override { return model_->restore(sequence); }
  std::optional<int64_t> saved(int32_t sequence) const override { return model_->saved(sequence); }

  Result<std::span<const float>> step(std::span<const TokenSpan> spans) override {
    return model_->step(translate(spans));
  }
  Result<std::span<const float>> draft(std::span<const TokenSpan> spans) override {
    return model_->draft(translate(spans));
  }

 private:
  std::span<const model::deepseek_v4::Span> translate(std::span<const TokenSpan> spans) {
    spans_.clear();
    for (const TokenSpan& span : spans)
      spans_.push_back({.sequence = span.sequence,
                        .position = span.position,
                        .tokens = span.tokens,
                        .all_logits = span.all_logits});
    return spans_;
  }

  std::unique_ptr<model::deepseek_v4::Model> model_;
  std::vector<model::deepseek_v4::Span> spans_;
};

}  // namespace tessera::engine
