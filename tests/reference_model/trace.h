// SPDX-License-Identifier: Apache-2.0
// A window on intermediate tensors. A callable that is given receives every tensor by its name,
// "layers.3.attn.q" for example, one row a token of the call; README.md lists the names.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "tests/reference_model/rows.h"

namespace tessera::reference_model {

using TraceCallback = std::function<void(const std::string& name, const Rows& value)>;

class Trace {
 public:
  Trace() = default;
  Trace(TraceCallback callback) : callback_(std::move(callback)) {}

  /// The same window for a part of the model: "layers.3." then "attn.".
  Trace within(std::string_view part) const {
    Trace inner(callback_);
    inner.prefix_ = prefix_ + std::string(part);
    return inner;
  }
  void operator()(std::string_view name, const Rows& value) const {
    if (callback_) callback_(prefix_ + std::string(name), value);
  }

 private:
  TraceCallback callback_;
  std::string prefix_;
};

}  // namespace tessera::reference_model
