// SPDX-License-Identifier: Apache-2.0
// What a collective gives, on every rank.
#include <cmath>
#include <numeric>

#include "tessera/base/float_formats.h"
#include "tessera/comm/cts/job_fixture.h"

namespace tessera::comm::cts {
namespace {

using CollectiveTest = JobTest;

/// Element i of rank r; sums of them depend on the order.
float made(int rank, size_t i) {
  const uint32_t mixed =
      (static_cast<uint32_t>(rank) * 2654435761u + static_cast<uint32_t>(i)) * 2246822519u;
  return std::ldexp(static_cast<float>(static_cast<int32_t>(mixed)),
                    -20 - static_cast<int>(mixed % 23));
}

std::vector<float> made_row(int rank, size_t count) {
  std::vector<float> row(count);
  for (size_t i = 0; i < count; ++i) row[i] = made(rank, i);
  return row;
}

/// What adding in the order of the ranks gives.
float sum_in_order(int ranks, size_t i) {
  float sum = made(0, i);
  for (int r = 1; r < ranks; ++r) sum += made(r, i);
  return sum;
}

/// Back ends of ours add in this order; NCCL need not.
void expect_sum(float got, int ranks, size_t i) {
  const float want = sum_in_order(ranks, i);
  if (options().backend != "nccl") {
    EXPECT_EQ(got, want) << "element " << i;
    return;
  }
  double size = 0;
  for (int r = 0; r < ranks; ++r) size += std::abs(made(r, i));
  EXPECT_NEAR(got, want, size * 1e-6) << "element " << i;
}

TEST_F(CollectiveTest, AllReduceAddsInTheOrderOfTheRanks) {
  for (const size_t count : {size_t{1}, size_t{3}, size_t{511}, size_t{513}, size_t{100003}})
    on_all_ranks([&](const Rank& rank) {
      const auto data = rank.numbers(made_row(rank.number(), count));
      EXPECT_OK(rank.comm.all_reduce(rank.stream, DType::f32, all_of(*data), Reduction::sum));
      const auto got = rank.numbers<float>(*data);
      for (size_t i = 0; i < count; ++i) expect_sum(got[i], rank.count(), i);
    });
}

TEST_F(CollectiveTest, AllReduceTakesTheMaximum) {
  on_all_ranks([&](const Rank& rank) {
    for (const size_t count : {size_t{5}, size_t{2000}}) {
      const auto data = rank.numbers(made_row(rank.number(), count));
      EXPECT_OK(rank.comm.all_reduce(rank.stream, DType::f32, all_of(*data), Reduction::max));
      const auto got = rank.numbers<float>(*data);
      for (size_t i = 0; i < count; ++i) {
        float want = made(0, i);
        for (int r = 1; r < rank.count(); ++r) want = std::max(want, made(r, i));
        EXPECT_EQ(got[i], want);
      }
    }
  });
}

TEST_F(CollectiveTest, AllReduceOfBf16RoundsOnce) {
  on_all_ranks([&](const Rank& rank) {
    for (const size_t count : {size_t{7}, size_t{1500}, size_t{4099}}) {
      std::vector<uint16_t> row(count);
      for (size_t i = 0; i < count; ++i) row[i] = encode_bf16(made(rank.number(), i));
      const auto data = rank.numbers(row);
      EXPECT_OK(rank.comm.all_reduce(rank.stream, DType::bf16, all_of(*data), Reduction::sum));
      const auto got = rank.numbers<uint16_t>(*data);
      for (size_t i = 0; i < count; ++i) {
        float sum = 0, size = 0;
        for (int r = 0; r < rank.count(); ++r) {
          const float one = decode_bf16(encode_bf16(made(r, i)));
          sum += one;
          size += std::abs(one);
        }
        if (options().backend != "nccl")
          EXPECT_EQ(got[i], encode_bf16(sum)) << i;
        else
          EXPECT_NEAR(decode_bf16(got[i]), sum, size / 64) << i;
      }
    }
  });
}

TEST_F(CollectiveTest, AllReduceOfIntegersAndOfAPartOfABuffer) {
  on_all_ranks([&](const Rank& rank) {
    std::vector<int32_t> row(40);
    std::iota(row.begin(), row.end(), rank.number() * 1000);
    const auto data = rank.numbers(row);
    EXPECT_OK(rank.comm.all_reduce(rank.stream, DType::i32, {data.get(), 40, 80}, Reduction::sum));
    const auto got = rank.numbers<int32_t>(*data);
    const int n = rank.count();
    for (int i = 0; i < 40; ++i) {
      const bool inside = i >= 10 && i < 30;
      EXPECT_EQ(got[static_cast<size_t>(i)],
                inside ? n * i + 1000 * n * (n - 1) / 2 : rank.number() * 1000 + i);
    }
  });
}

/// Ranks that want row t: none of every fifth, all of every seventh, else some.
bool wants(size_t row, int rank, int ranks) {
  if (row % 5 == 0) return false;
  return row % 7 == 0 || (static_cast<int>(row) + rank) % ranks < (ranks + 1) / 2;
}

TEST_F(CollectiveTest, WantedRowsGoToWhoWantsThemAndComeBack) {
  on_all_ranks([&](const Rank& rank) {
    const auto ranks = static_cast<size_t>(rank.count()), me = static_cast<size_t>(rank.number());
    for (const size_t share : {size_t{1}, size_t{9}})
      for (const size_t width : {size_t{3}, size_t{700}}) {
        const size_t rows = share * ranks;
        std::vector<int32_t> table;
        for (size_t row = 0; row < rows; ++row)
          for (size_t r = 0; r < ranks; ++r)
            table.push_back(wants(row, static_cast<int>(r), rank.count()) ? 0 : -1);
        const auto wanted = rank.numbers(table);
        const auto own = rank.numbers(made_row(rank.number(), share * width));
        const auto all = rank.numbers(std::vector<float>(rows * width));
        ASSERT_OK(rank.comm.dispatch(rank.stream, all_of(*own), all_of(*all), all_of(*wanted)));
        std::vector<float> got = rank.numbers<float>(*all);
        for (size_t row = 0; row < rows; ++row)
          for (size_t c = 0; c < width && wants(row, rank.number(), rank.count()); ++c) {
            float& value = got[row * width + c];
            ASSERT_EQ(value, made(static_cast<int>(row / share), row % share * width + c)) << row;
            value += static_cast<float>(me);
          }
        const auto answers = rank.numbers(got);
        const auto parts = rank.numbers(std::vector<float>(rows * width));
        ASSERT_OK(
            rank.comm.combine(rank.stream, all_of(*answers), all_of(*parts), all_of(*wanted)));
        got = rank.numbers<float>(*parts);
        for (size_t r = 0; r < ranks; ++r)
          for (size_t row = 0; row < share; ++row)
            for (size_t c = 0;
                 c < width && wants(me * share + row, static_cast<int>(r), rank.count()); ++c)
              ASSERT_EQ(got[(r * share + row) * width + c],
                        made(rank.number(), row * width + c) + static_cast<float>(r));
      }
  });
}

TEST_F(CollectiveTest, OnlyWantedRowsAreSent) {
  on_all_ranks([&](const Rank& rank) {
    const auto ranks = static_cast<size_t>(rank.count());
    // Every rank wants the first row of rank 0 and nothing else.
    std::vector<int32_t> table(2 * ranks * ranks, -1);
    std::fill_n(table.begin(), ranks, 7);
    const auto wanted = rank.numbers(table);
    const auto own = rank.numbers(made_row(rank.number(), 2 * 10));
    const auto all = rank.numbers(std::vector<float>(2 * ranks * 10));
    const int64_t before = rank.comm.traffic().bytes;
    ASSERT_OK(rank.comm.dispatch(rank.stream, all_of(*own), all_of(*all), all_of(*wanted)));
    EXPECT_EQ(rank.comm.traffic().bytes - before,
              rank.number() == 0 ? static_cast<int64_t>(ranks - 1) * 40 : 0);
  });
}

TEST_F(CollectiveTest, ReduceScatterGivesEachRankItsPart) {
  on_all_ranks([&](const Rank& rank) {
    for (const size_t part : {size_t{1}, size_t{64}, size_t{3001}}) {
      const auto parts =
          rank.numbers(made_row(rank.number(), part * static_cast<size_t>(rank.count())));
      const auto own = rank.numbers(std::vector<float>(part, -1));
      EXPECT_OK(rank.comm.reduce_scatter(rank.stream, DType::f32, all_of(*parts), all_of(*own),
                                         Reduction::sum));
      const auto got = rank.numbers<float>(*own);
      for (size_t i = 0; i < part; ++i)
        expect_sum(got[i], rank.count(), static_cast<size_t>(rank.number()) * part + i);
    }
  });
}

TEST_F(CollectiveTest, AllGatherOrdersByRank) {
  on_all_ranks([&](const Rank& rank) {
    const auto own = rank.numbers(made_row(rank.number(), 33));
    const auto parts = rank.numbers(std::vector<float>(33 * static_cast<size_t>(rank.count()), -1));
    EXPECT_OK(rank.comm.all_gather(rank.stream, all_of(*own), all_of(*parts)));
    const auto got = rank.numbers<float>(*parts);
    for (int r = 0; r < rank.count(); ++r)
      for (size_t i = 0; i < 33; ++i) EXPECT_EQ(got[static_cast<size_t>(r) * 33 + i], made(r, i));
  });
}

TEST_F(CollectiveTest, AllToAllTransposes) {
  on_all_ranks([&](const Rank& rank) {
    const auto ranks = static_cast<size_t>(rank.count());
    const auto from = rank.numbers(made_row(rank.number(), 6 * ranks));
    const auto to = rank.numbers(std::vector<float>(6 * ranks, -1));
    EXPECT_OK(rank.comm.all_to_all(rank.stream, all_of(*from), all_of(*to)));
    const auto got = rank.numbers<float>(*to);
    for (size_t r = 0; r < ranks; ++r)
      for (size_t i = 0; i < 6; ++i)
        EXPECT_EQ(got[r * 6 + i],
                  made(static_cast<int>(r), static_cast<size_t>(rank.number()) * 6 + i));
  });
}

TEST_F(CollectiveTest, BroadcastFromEveryRank) {
  on_all_ranks([&](const Rank& rank) {
    for (int root = 0; root < rank.count(); ++root) {
      const auto data = rank.numbers(made_row(rank.number(), 77));
      EXPECT_OK(rank.comm.broadcast(rank.stream, all_of(*data), root));
      EXPECT_EQ(rank.numbers<float>(*data), made_row(root, 77));
    }
  });
}

TEST_F(CollectiveTest, MessagesGoRoundTheRing) {
  on_all_ranks([&](const Rank& rank) {
    if (rank.count() == 1) return;
    const int next = (rank.number() + 1) % rank.count();
    const int previous = (rank.number() + rank.count() - 1) % rank.count();
    const auto mine = rank.numbers(made_row(rank.number(), 1000));
    const auto theirs = rank.numbers(std::vector<float>(1000, -1));
    // Odd ranks listen first: nobody waits in a circle (but for one pair when the count is odd).
    if (rank.number() == 0) {
      EXPECT_OK(rank.comm.send(rank.stream, all_of(*mine), next));
      EXPECT_OK(rank.comm.receive(rank.stream, all_of(*theirs), previous));
    } else {
      EXPECT_OK(rank.comm.receive(rank.stream, all_of(*theirs), previous));
      EXPECT_OK(rank.comm.send(rank.stream, all_of(*mine), next));
    }
    EXPECT_EQ(rank.numbers<float>(*theirs), made_row(previous, 1000));
  });
}

TEST_F(CollectiveTest, HostMessages) {
  on_all_ranks([&](const Rank& rank) {
    std::vector<int32_t> parts(static_cast<size_t>(rank.count()), -1);
    const int32_t own = 7 * rank.number() + 1;
    EXPECT_OK(rank.comm.all_gather(std::as_bytes(std::span(&own, 1)),
                                   std::as_writable_bytes(std::span(parts))));
    for (int r = 0; r < rank.count(); ++r) EXPECT_EQ(parts[static_cast<size_t>(r)], 7 * r + 1);
    int32_t word = own;
    EXPECT_OK(rank.comm.broadcast(std::as_writable_bytes(std::span(&word, 1)), rank.count() - 1));
    EXPECT_EQ(word, 7 * (rank.count() - 1) + 1);
    if (rank.number() > 0) {
      EXPECT_OK(rank.comm.send(std::as_bytes(std::span(&own, 1)), 0));
      return;
    }
    for (int r = rank.count() - 1; r > 0; --r) {
      EXPECT_OK(rank.comm.receive(std::as_writable_bytes(std::span(&word, 1)), r));
      EXPECT_EQ(word, 7 * r + 1);
    }
  });
}

TEST_F(CollectiveTest, SplitMakesCommunicatorsOfTheirOwn) {
  on_all_ranks([&](const Rank& rank) {
    // Odd and even ranks, in reverse order.
    auto part = rank.comm.split(rank.number() % 2, -rank.number());
    ASSERT_TRUE(part.ok()) << part.error().to_string();
    Communicator& group = **part;
    const int members = (rank.count() + 1 - rank.number() % 2) / 2;
    EXPECT_EQ(group.size(), members);
    EXPECT_EQ(group.rank(), members - 1 - rank.number() / 2);
    const auto data = rank.numbers(std::vector<int32_t>{rank.number(), 1});
    EXPECT_OK(group.all_reduce(rank.stream, DType::i32, all_of(*data), Reduction::sum));
    int32_t sum = 0;
    for (int r = rank.number() % 2; r < rank.count(); r += 2) sum += r;
    EXPECT_EQ(rank.numbers<int32_t>(*data), (std::vector<int32_t>{sum, members}));
  });
}

TEST_F(CollectiveTest, TrafficCountsWhatIsSent) {
  on_all_ranks([&](const Rank& rank) {
    const int64_t n = rank.count();
    const Traffic before = rank.comm.traffic();
    const auto parts = rank.numbers(std::vector<float>(static_cast<size_t>(100 * n), 1));
    const auto own = rank.numbers(std::vector<float>(100, 1));
    EXPECT_OK(rank.comm.reduce_scatter(rank.stream, DType::f32, all_of(*parts), all_of(*own),
                                       Reduction::sum));
    EXPECT_EQ(rank.comm.traffic().bytes - before.bytes, 400 * (n - 1));
    EXPECT_OK(rank.comm.all_gather(rank.stream, all_of(*own), all_of(*parts)));
    EXPECT_EQ(rank.comm.traffic().bytes - before.bytes, 800 * (n - 1));
    EXPECT_EQ(rank.comm.traffic().operations - before.operations, n == 1 ? 0 : 2);
  });
}

}  // namespace
}  // namespace tessera::comm::cts
