// SPDX-License-Identifier: Apache-2.0
// For tests: the checkpoint flash-nano with vectors that the official code computed from it.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tessera/base/testing/reference_data.h"
#include "tests/reference_model/comparison.h"
#include "tests/reference_model/model.h"

namespace tessera::reference_model {

/// The parameter is a prompt's length.
class GoldenTest : public testing::TestWithParam<int> {
 protected:
  void open(Mode mode) {
    const auto folder = reference_folder() / "goldens/flash-nano";
    auto model = Model::open(folder, mode);
    ASSERT_TRUE(model.ok()) << model.error().to_string();
    model_ = std::make_unique<Model>(std::move(*model));
    golden_ = std::move(*TensorFiles::open(folder / "golden.safetensors"));
    layers_ = std::move(*TensorFiles::open(folder / "layers.safetensors"));
    ids_ = golden_.integers(name("ids"));
    greedy_ = golden_.integers(name("fp32.greedy_ids"));
  }
  std::string name(const std::string& part) const {
    return fmt::format("prompt_{}.{}", GetParam(), part);
  }

  std::unique_ptr<Model> model_;
  TensorFiles golden_, layers_;
  std::vector<int64_t> ids_, greedy_;
};

}  // namespace tessera::reference_model
