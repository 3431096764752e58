// SPDX-License-Identifier: Apache-2.0
// The tensors of one case on the host: inputs as fill() leaves them, and what the reference
// expects.
#pragma once

#include <memory>
#include <vector>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

class CaseData {
 public:
  enum class Content : uint8_t { kInputs, kInputsAndReference };

  /// Equal operator, case and seed give equal bytes. An error names what the case gets wrong.
  static Result<CaseData> make(const Operator& op, const Case& test_case,
                               Content content = Content::kInputsAndReference);

  const Problem& problem() const { return *problem_; }
  const std::vector<HostTensor>& inputs() const { return inputs_; }
  /// Empty without reference.
  const std::vector<Expected>& expected() const { return expected_; }

 private:
  CaseData() = default;
  std::unique_ptr<Problem> problem_;  // tensors and checks point to it
  std::vector<HostTensor> inputs_;    // by tensor; empty for absent ones
  std::vector<Expected> expected_;    // by tensor; empty for those that are only read
};

/// "T=3 D=4096 x=bf16, zero row"
std::string case_text(const Operator& op, const Case& test_case);

}  // namespace tessera::ops
