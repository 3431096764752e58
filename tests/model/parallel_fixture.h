// SPDX-License-Identifier: Apache-2.0
// For tests: a model spread over ranks that are threads of this process.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "tessera/comm/thread_communicator.h"
#include "tessera/model/deepseek_v4/orders.h"
#include "tests/model/model_fixture.h"

namespace tessera::model_test {

struct ParallelRun {
  std::filesystem::path folder;
  int ranks = 1;
  ModelOptions options;
  bool ranks_differ = false;
  /// On every rank once its model is there.
  std::function<void(const Model&)> look = [](const Model&) {};
  /// What ranks from 1 on load; empty: `folder`.
  std::filesystem::path other_folder = {};
};

/// Runs `body` on rank 0's model.
inline void run_parallel(const ParallelRun& run, const std::function<void(Model&)>& body) {
  auto comms = comm::make_threads(run.ranks, std::chrono::minutes(4));
  const auto open = [](const std::filesystem::path& folder) {
    return std::make_shared<const checkpoint::Checkpoint>(
        checkpoint::Checkpoint::open(folder).value());
  };
  const auto shared = open(run.folder);
  const auto other = run.other_folder.empty() ? shared : open(run.other_folder);
  const auto config = model::deepseek_v4::load_config(run.folder).value();
  const auto rank = [&](int number) {
    Machine machine(1);
    comm::Communicator& world = *comms[static_cast<size_t>(number)];
    const model::deepseek_v4::Job job{&world, run.ranks_differ};
    const auto load = [&](const ModelOptions& options) {
      auto model =
          Model::load(number == 0 ? shared : other, config, machine.library(), options, job);
      if (model.ok()) run.look(**model);
      return model;
    };
    if (number > 0) {
      auto followed = model::deepseek_v4::follow(world, load);
      EXPECT_TRUE(followed.ok()) << "rank " << number << ": " << followed.error().to_string();
      return;
    }
    auto model = load(run.options);
    ASSERT_TRUE(model.ok()) << model.error().to_string();
    body(**model);
    model->reset();
    if (run.ranks > 1) {
      auto ended = model::deepseek_v4::send_order(world, {});
      EXPECT_TRUE(ended.ok()) << ended.error().to_string();
    }
  };
  std::vector<std::thread> threads;
  for (int r = 1; r < run.ranks; ++r) threads.emplace_back(rank, r);
  rank(0);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tessera::model_test
