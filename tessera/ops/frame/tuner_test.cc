// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/tuner.h"

#include <gtest/gtest.h>

#include <set>

#include "tessera/kernels/testing/sample_kernels.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/ops/frame/testing/sample_operators.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::ops {
namespace {

/// SampleOp without bias, done `gemv_rows` times: the fewer, the faster. kWrong times and fewer are
/// wrong.
struct SlowOp : testing::SampleOp {
  static constexpr int64_t kWrong = 8;
  static void plan(PlanBuilder& b) {
    const int64_t times = b.caps().gemv_rows;
    const double scale = times <= kWrong ? 3 : b.attribute("scale");
    b.kernel("rows", {b.dim("T")}, {b.tensor("x"), b.tensor("y")},
             [=](KernelBuilder& k, View from, View to) {
               const Tile row = k.program_id(0);
               k.for_range(0, times, 1, [&](Tile) {
                 k.for_range(0, from.extent(1), 16, [&](Tile c) {
                   const Tile x = cast(load(from, {row, c}, {1, 16}), DType::f32);
                   store(to, {row, c}, cast(x * scale, to.dtype()));
                 });
               });
             });
  }
};

class TunerTest : public ::testing::Test {
 protected:
  TunerTest()
      : device_(runtime::open_device("null").value()),
        library_(*device_, {.provider = std::make_shared<kernels::testing::TraceProvider>()}) {}

  const Case case_ = bench_case({{"T", 64}, {"D", 64}}, {{"x", DType::f32}, {"y", DType::f32}});
  std::unique_ptr<runtime::Device> device_;
  kernels::KernelLibrary library_;
};

TEST_F(TunerTest, TakesTheFastestThatIsRight) {
  const auto before = std::make_shared<runtime::Tuning>();
  device_->use_tuning(before);
  const auto report =
      tune(library_, make_operator<SlowOp>(), case_, {.min_seconds = 0.01, .rotate_bytes = 1});
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(report->winner.use, "sample D=64 T<=64 x=f32 y=f32");
  EXPECT_EQ(report->winner.hints, (runtime::Hints{{"gemv_rows", 2 * SlowOp::kWrong}}));
  EXPECT_LT(report->winner.seconds, 0.7 * report->winner.untuned_seconds);
  EXPECT_GT(report->wrong, 0);
  EXPECT_NE(report->mistake.find("y"), std::string::npos);
  EXPECT_EQ(device_->tuning(), before);
}

TEST_F(TunerTest, KernelsThatDoNotChangeAreNotTimedAgain) {
  const auto report = tune(library_, make_operator<testing::SampleOp>(), case_,
                           {.min_seconds = 0.001, .rotate_bytes = 1});
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(report->timed, 0);
  EXPECT_TRUE(report->winner.hints.empty());
}

TEST_F(TunerTest, CandidatesThatDoNotCompileAreLeftOut) {
  const Operator op = make_operator<SlowOp>();
  const auto problem = problem_of(op, case_).value();
  const auto traces = trace_plan(make_plan(op, problem, device_->info().capabilities)).value();
  // A pack, as it were, with the untuned kernel alone.
  class One final : public kernels::Provider {
   public:
    explicit One(Hash128 known) : known_(known) {}
    std::string_view version() const override { return "one"; }
    Result<std::string> identity(std::string_view) const override { return std::string(); }
    Result<runtime::Capabilities> capabilities(std::string_view) const override {
      return runtime::Capabilities();
    }
    Result<runtime::KernelImage> compile(const lang::Trace& trace, std::string_view) override {
      if (trace.hash() != known_) return not_found("no such kernel");
      return kernels::testing::image_of(trace);
    }

   private:
    Hash128 known_;
  };
  kernels::KernelLibrary library(*device_, {.provider = std::make_shared<One>(traces[0].hash())});
  const auto report = tune(library, op, case_, {.min_seconds = 0.001, .rotate_bytes = 1});
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_GT(report->failed, 0);
  EXPECT_EQ(report->timed, 0);
}

TEST(CandidateTraces, HoldTheFirstRound) {
  const Operator op = make_operator<SlowOp>();
  const Case c = bench_case({{"T", 2}, {"D", 64}}, {{"x", DType::f32}, {"y", DType::f32}});
  const auto traces = candidate_traces(op, problem_of(op, c).value(), {});
  ASSERT_TRUE(traces.ok());
  std::set<std::string> kernels;
  for (const lang::Trace& trace : *traces) kernels.insert(trace.hash().hex());
  EXPECT_EQ(kernels.size(), 3u);  // 32, 64 and 128 times
}

}  // namespace
}  // namespace tessera::ops
