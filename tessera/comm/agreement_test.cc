// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/agreement.h"

#include <gtest/gtest.h>

#include <thread>

#include "tessera/comm/thread_communicator.h"

namespace tessera::comm {
namespace {

/// What each of three ranks hears; rank 1 differs as said.
std::vector<std::string> heard(const std::vector<Fact>& odd, const Error* error = nullptr) {
  const auto ranks = make_threads(3, std::chrono::seconds(10));
  const std::vector<Fact> facts = {{"version", "1"}, {"precision", "native"}};
  std::vector<std::string> messages(3);
  std::vector<std::thread> threads;
  for (size_t r = 0; r < 3; ++r)
    threads.emplace_back([&, r] {
      const bool is_odd = r == 1;
      auto result = agree(*ranks[r], is_odd ? odd : facts, is_odd ? error : nullptr);
      if (!result.ok()) messages[r] = result.error().message;
    });
  for (std::thread& thread : threads) thread.join();
  return messages;
}

TEST(Agreement, EqualFactsAgree) {
  for (const std::string& message : heard({{"version", "1"}, {"precision", "native"}}))
    EXPECT_EQ(message, "");
}

TEST(Agreement, EveryRankHearsWhatDiffers) {
  for (const std::string& message : heard({{"version", "1"}, {"precision", "bf16"}}))
    EXPECT_EQ(message, "rank 1 has precision bf16, rank 0 has native");
}

TEST(Agreement, EveryRankHearsOfAnError) {
  const Error error = not_found("no file model.safetensors");
  const auto messages = heard({}, &error);
  EXPECT_EQ(messages[0], "rank 1: no file model.safetensors");
  EXPECT_EQ(messages[1], "no file model.safetensors");
  EXPECT_EQ(messages[2], "rank 1: no file model.safetensors");
}

}  // namespace
}  // namespace tessera::comm
