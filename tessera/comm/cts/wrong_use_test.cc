// SPDX-License-Identifier: Apache-2.0
// Mistakes are refused before anything is sent, with the same words by every back end.
#include <fmt/format.h>

#include "tessera/comm/cts/job_fixture.h"

namespace tessera::comm::cts {
namespace {

using WrongUseTest = JobTest;

TEST_F(WrongUseTest, RangesMustFit) {
  on_all_ranks([](const Rank& rank) {
    const auto small = rank.numbers(std::vector<float>(2));
    Communicator& comm = rank.comm;
    EXPECT_ERROR(invalid_argument, "all_reduce: 8 bytes at offset 4 exceed a buffer of 8 bytes",
                 comm.all_reduce(rank.stream, DType::f32, {small.get(), 4, 8}, Reduction::sum));
    EXPECT_ERROR(invalid_argument, "all_reduce: 6 bytes are not whole f32",
                 comm.all_reduce(rank.stream, DType::f32, {small.get(), 0, 6}, Reduction::sum));
    EXPECT_ERROR(unsupported, "all_reduce of f8e4m3: f32, bf16 and i32 can be reduced",
                 comm.all_reduce(rank.stream, DType::f8e4m3, all_of(*small), Reduction::sum));
    EXPECT_ERROR(invalid_argument,
                 fmt::format("all_gather: {} parts of 8 bytes are not {} bytes", rank.count(),
                             8 * rank.count() + 4),
                 comm.all_gather(rank.stream, all_of(*small),
                                 {small.get(), 0, static_cast<size_t>(8 * rank.count() + 4)}));
    EXPECT_ERROR(
        invalid_argument,
        fmt::format("combine: 8 bytes of rows and 6 bytes of what {} ranks want of them do not fit",
                    rank.count()),
        comm.combine(rank.stream, all_of(*small), all_of(*small), {small.get(), 0, 6}));
    EXPECT_ERROR(invalid_argument, fmt::format("broadcast: no rank 99 among {}", rank.count()),
                 comm.broadcast(rank.stream, all_of(*small), 99));
    EXPECT_ERROR(invalid_argument, fmt::format("send: rank {0} to itself", rank.number()),
                 comm.send(rank.stream, all_of(*small), rank.number()));
  });
}

TEST_F(WrongUseTest, BuffersBelongToTheStreamsDevice) {
  on_all_ranks([](const Rank& rank) {
    const auto other = runtime::open_device("null").value();
    const auto buffer = other->allocate(8).value();
    EXPECT_ERROR(invalid_argument,
                 fmt::format("all_reduce: the buffer belongs to {}, the stream to {}",
                             other->info().arch, rank.device.info().arch),
                 rank.comm.all_reduce(rank.stream, DType::f32, all_of(*buffer), Reduction::sum));
  });
}

TEST_F(WrongUseTest, NothingRunsInACaptureUnlessItCanBeCaptured) {
  on_all_ranks([](const Rank& rank) {
    if (rank.comm.can_capture(rank.stream)) return;
    const auto data = rank.numbers(std::vector<float>(2));
    EXPECT_OK(rank.stream.begin_capture());
    EXPECT_ERROR(
        invalid_argument,
        fmt::format("all_reduce inside a capture: {} cannot be captured", rank.comm.name()),
        rank.comm.all_reduce(rank.stream, DType::f32, all_of(*data), Reduction::sum));
    EXPECT_OK(rank.stream.end_capture());
  });
}

}  // namespace
}  // namespace tessera::comm::cts
