// SPDX-License-Identifier: Apache-2.0
// Two models on two chips, operator by operator. The reference runs a step first; then the other
// does, and after each operator what the reference wrote takes the place of what it wrote itself.
// So every operator starts from the reference's inputs, and a difference is its own.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tessera/base/dtype.h"
#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/step_tables.h"

namespace tessera::model::deepseek_v4 {

class Model;

/// One tensor that an operator writes in a part of the model, over all steps compared.
struct OutputDifference {
  std::string part, op, tensor;  // "layer 3", "q_norm_rope", "q"
  DType dtype = DType::f32;
  int64_t elements = 0, different = 0;  // not zero on either side; not equal
  double squared_error = 0, squared = 0;

  /// Of the elements.
  double share() const;
  /// |actual - expected| / |expected|; infinity for NaN.
  double error() const;
  /// Whether that is more than another order of summation explains. f32 carries such differences
  /// on: an error of 2e-5. Other types differ where a number lay at the edge between two codes,
  /// which is rare: 2 % of the elements.
  bool departs() const;
};

class AgainstReference {
 public:
  /// Both are loaded alike, on one rank each.
  AgainstReference(Model& model, Model& reference) : model_(model), reference_(reference) {}

  /// Runs one step on both. `unsupported` when their programs differ.
  Result<> step(const Span& span);
  /// In the order of the program.
  std::span<const OutputDifference> outputs() const { return outputs_; }
  /// The part with the first output that departs; empty: none.
  std::string first_part() const;

 private:
  OutputDifference& output(std::string_view part, std::string_view op, std::string_view tensor);

  Model& model_;
  Model& reference_;
  std::vector<OutputDifference> outputs_;
};

/// Adds the elements of one tensor to `difference`, whose dtype is set.
void add_elements(OutputDifference& difference, std::span<const std::byte> actual,
                  std::span<const std::byte> expected);

}  // namespace tessera::model::deepseek_v4
