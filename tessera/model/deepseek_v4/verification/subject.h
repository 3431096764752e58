// SPDX-License-Identifier: Apache-2.0
// What is verified: a model, or a stand-in for one.
#pragma once

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/step_tables.h"
#include "tessera/model/deepseek_v4/verification/rows.h"

namespace tessera::model::deepseek_v4 {

class Model;

class Subject {
 public:
  virtual ~Subject() = default;

  /// Most tokens of a step.
  virtual int64_t largest_step() const = 0;
  /// Most tokens of a step in which every sum has the bits of f32.
  virtual int64_t most_exact_rows() const = 0;
  /// As Model::step and Model::draft, for one span.
  virtual Result<Rows> step(const Span& span) = 0;
  virtual Result<Rows> draft(const Span& span) = 0;
  /// One layer over a residual stream [tokens, copies * D]; its keys are kept.
  virtual Result<Rows> layer(size_t index, const Span& span, const Rows& stream) = 0;
};

class ModelSubject final : public Subject {
 public:
  explicit ModelSubject(Model& model) : model_(model) {}

  int64_t largest_step() const override;
  int64_t most_exact_rows() const override;
  Result<Rows> step(const Span& span) override;
  Result<Rows> draft(const Span& span) override;
  /// The stream is rounded to the model's activation type.
  Result<Rows> layer(size_t index, const Span& span, const Rows& stream) override;

 private:
  Model& model_;
};

}  // namespace tessera::model::deepseek_v4
