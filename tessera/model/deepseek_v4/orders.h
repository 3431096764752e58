// SPDX-License-Identifier: Apache-2.0
// Rank 0 alone decides what a job computes: before each step it sends an order, and the other ranks
// do the same to their parts of the model.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tessera/comm/communicator.h"
#include "tessera/model/deepseek_v4/model_options.h"
#include "tessera/model/deepseek_v4/step_tables.h"

namespace tessera::model::deepseek_v4 {

class Model;

enum class OrderKind : int32_t {
  load,
  unload,
  step,
  draft,
  layers,
  profile,
  pretend,
  save,
  restore,
  end
};

struct Order {
  OrderKind kind = OrderKind::end;
  ModelOptions options = {};  // of load
  int64_t first = 0,
          last = 0;  // layers; repeats of profile; positions of pretend; sequence of save
  std::vector<Span> spans = {};  // their tokens are `tokens`
  std::vector<int32_t> tokens = {};
  std::vector<std::byte> stream = {};  // of layers
};

/// By rank 0.
Result<> send_order(comm::Communicator& world, const Order& order);

/// By the other ranks: does what rank 0 orders until it ends the job; `load` makes this rank's
/// model.
Result<> follow(comm::Communicator& world,
                const std::function<Result<std::unique_ptr<Model>>(const ModelOptions&)>& load);

}  // namespace tessera::model::deepseek_v4
