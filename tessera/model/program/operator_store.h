// SPDX-License-Identifier: Apache-2.0
// Operators planned and compiled, one for each distinct problem, shared by all programs of a model:
// its layers repeat a handful of problems, and programs of other sizes share most of them.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/kernels/kernel_library.h"
#include "tessera/model/program/operator_use.h"

namespace tessera::model {

class OperatorStore {
 public:
  explicit OperatorStore(kernels::KernelLibrary& library, ops::PlanOptions options = {})
      : library_(library), options_(options) {}

  /// In the order of `uses`. Those not held yet are planned and compiled in parallel; the error of
  /// the first that fails names the operator and its problem. One thread at a time.
  Result<std::vector<std::shared_ptr<const ops::PreparedOp>>> get(
      std::span<const OperatorUse> uses);
  Planning planning() const { return {library_.device().info().capabilities, options_}; }

 private:
  kernels::KernelLibrary& library_;
  ops::PlanOptions options_;
  std::map<std::string, std::shared_ptr<const ops::PreparedOp>, std::less<>> prepared_;
};

}  // namespace tessera::model
