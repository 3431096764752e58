// SPDX-License-Identifier: Apache-2.0
// When ranks do not do the same.
#include <gtest/gtest.h>

#include <thread>

#include "tessera/comm/thread_communicator.h"

namespace tessera::comm {
namespace {

TEST(ThreadFailure, ARankThatDoesNotComeEndsTheJob) {
  auto ranks = make_threads(3, std::chrono::milliseconds(200));
  std::vector<Error> errors(2);
  std::vector<std::thread> threads;
  for (size_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      std::vector<std::byte> own(4), parts(12);
      auto result = ranks[r]->all_gather(own, std::span(parts));
      ASSERT_FALSE(result.ok());
      errors[r] = result.error();
    });
  for (std::thread& thread : threads) thread.join();
  int late = 0;
  for (const Error& error : errors) {
    late += error.code == ErrorCode::deadline ? 1 : 0;
    EXPECT_NE(error.message.find("all_gather: another rank did not come within 0.2 s"),
              std::string::npos)
        << error.message;
  }
  EXPECT_GE(late, 1);
  // The one that comes too late hears of it.
  std::vector<std::byte> word(4);
  auto result = ranks[2]->broadcast(std::span(word), 0);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::unavailable);
  EXPECT_EQ(result.error().message,
            "the job has failed: all_gather: another rank did not come within 0.2 s");
}

TEST(ThreadFailure, RanksMustPassEqualSizes) {
  auto ranks = make_threads(2, std::chrono::seconds(10));
  std::thread other([&] {
    std::vector<std::byte> word(8);
    EXPECT_FALSE(ranks[1]->broadcast(std::span(word), 0).ok());
  });
  std::vector<std::byte> word(4);
  auto result = ranks[0]->broadcast(std::span(word), 0);
  other.join();
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("broadcast: rank"), std::string::npos)
      << result.error().message;
}

}  // namespace
}  // namespace tessera::comm
