// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

class KernelLowering::Scope {
 public:
  explicit Scope(KernelLowering& lowering) : lowering_(lowering), before_(lowering.noted_.size()) {}
  ~Scope() {
    for (; lowering_.noted_.size() > before_; lowering_.noted_.pop_back())
      lowering_.tiles_[lowering_.noted_.back()].pop_back();
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  KernelLowering& lowering_;
  const size_t before_;
};

}  // namespace tessera::compiler::simt
