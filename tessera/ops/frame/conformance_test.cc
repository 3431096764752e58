// SPDX-License-Identifier: Apache-2.0
// The conformance run finds each kind of mistake, and only those.
#include "tessera/ops/frame/conformance.h"

#include <gtest/gtest.h>

#include <array>

#include "tessera/kernels/testing/sample_kernels.h"
#include "tessera/ops/frame/bench.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/ops/frame/testing/sample_operators.h"

namespace tessera::ops {
namespace {

using testing::Mistake;
using testing::SampleOp;
using testing::WrongOp;
using Status = OperatorReport::Status;

class ConformanceTest : public ::testing::Test {
 protected:
  ConformanceTest()
      : device_(std::move(runtime::open_device("null")).value()),
        provider_(std::make_shared<kernels::testing::TraceProvider>()),
        library_(*device_, {.provider = provider_}) {}

  OperatorReport run(const Operator& op, ConformanceOptions options = {}) {
    const Operator* const list[] = {&op};
    return run_conformance(library_, list, options)[0];
  }
  template <Mistake kMistake>
  std::string complaint() {
    const Operator op = make_operator<WrongOp<kMistake>>();
    const OperatorReport report = run(op);
    EXPECT_EQ(report.status, Status::kFailed);
    return report.cases[0].wrong;
  }

  std::unique_ptr<runtime::Device> device_;
  std::shared_ptr<kernels::testing::TraceProvider> provider_;
  kernels::KernelLibrary library_;
};

TEST_F(ConformanceTest, ARightOperatorPasses) {
  const Operator op = make_operator<SampleOp>();
  size_t last_done = 0, last_total = 0;
  ConformanceOptions options;
  options.progress = [&](std::string_view, size_t done, size_t total) {
    last_done = done, last_total = total;
  };
  const OperatorReport report = run(op, options);
  EXPECT_EQ(report.status, Status::kPassed);
  ASSERT_EQ(report.cases.size(), 4u) << "the benchmark case is not a test";
  for (const CaseReport& c : report.cases) EXPECT_EQ(c.wrong, "") << c.text;
  EXPECT_EQ(report.cases[3].text, "D=64 T=5 x=bf16 bias=f32 y=bf16 scale=0.5, bias");
  EXPECT_LE(report.worst(), 1);
  EXPECT_EQ(last_done, 4u);
  EXPECT_EQ(last_total, 4u);
}

TEST_F(ConformanceTest, CompilesEachKernelOnce) {
  const Operator op = make_operator<SampleOp>();
  run(op);
  EXPECT_EQ(provider_->calls, 4) << "T = 1 and T = 3 share theirs";
}

TEST_F(ConformanceTest, FiltersByDtypeAndText) {
  const Operator op = make_operator<SampleOp>();
  EXPECT_EQ(run(op, {.dtype = DType::bf16}).cases.size(), 1u);
  EXPECT_EQ(run(op, {.case_filter = "T=3"}).cases.size(), 1u);
  EXPECT_EQ(run(op, {.dtype = DType::i8}).status, Status::kNoCases);
}

TEST_F(ConformanceTest, FindsAWrongValue) {
  EXPECT_NE(complaint<Mistake::kWrongValue>().find("y[5]: got"), std::string::npos);
}

TEST_F(ConformanceTest, FindsAnElementThatIsNotWritten) {
  EXPECT_NE(complaint<Mistake::kSkipsElement>().find("y[5]: got nan"), std::string::npos);
}

TEST_F(ConformanceTest, FindsAWorkspaceTakenForZeros) {
  EXPECT_NE(complaint<Mistake::kReadsWorkspace>().find("y[0]: got"), std::string::npos);
}

TEST_F(ConformanceTest, FindsAnInputThatIsOverwritten) {
  EXPECT_EQ(complaint<Mistake::kWritesInput>(), "input x was overwritten");
}

TEST_F(ConformanceTest, ReportsAKernelThatDoesNotTrace) {
  const std::string text = complaint<Mistake::kBadKernel>();
  EXPECT_NE(text.find("planning wrong T=8"), text.npos) << text;
  EXPECT_NE(text.find("sample_operators.h"), text.npos) << text;
}

TEST_F(ConformanceTest, FindsAReferenceThatForgetsAnElement) {
  EXPECT_NE(complaint<Mistake::kReference>().find("y[5]: the reference never sets it"),
            std::string::npos);
}

TEST_F(ConformanceTest, KnownFailuresMustFail) {
  static constexpr runtime::KnownFailure kList[] = {{"Op.wro*", "not yet", false},
                                                    {"Op.sample", "slow", false}};
  const Operator wrong = make_operator<WrongOp<Mistake::kWrongValue>>(),
                 right = make_operator<SampleOp>();
  const OperatorReport known = run(wrong, {.known_failures = kList});
  EXPECT_EQ(known.status, Status::kKnownFailure);
  EXPECT_EQ(known.reason, "not yet");
  EXPECT_TRUE(known.good());
  const OperatorReport stale = run(right, {.known_failures = kList});
  EXPECT_EQ(stale.status, Status::kStale);
  EXPECT_FALSE(stale.good());
  static constexpr runtime::KnownFailure kNever[] = {{"Op.wrong", "hangs", true}};
  const OperatorReport never = run(wrong, {.known_failures = kNever});
  EXPECT_EQ(never.status, Status::kNotRun);
  EXPECT_TRUE(never.cases.empty());
}

TEST_F(ConformanceTest, ACompilerErrorFailsItsCaseOnly) {
  provider_->failing = "sample.add";
  const Operator op = make_operator<SampleOp>();
  const OperatorReport report = run(op);
  EXPECT_EQ(report.status, Status::kFailed);
  EXPECT_EQ(report.cases[1].wrong, "");
  EXPECT_NE(report.cases[3].wrong.find("kernel sample.add: internal: the compiler gave up"),
            std::string::npos);
}

/// A memory of 1 GB/s.
class SlowMemory : public runtime::BandwidthProbe {
 public:
  size_t bytes() const override { return 1 << 20; }
  Result<double> read_rate() override { return 1e9; }
  Result<double> copy_rate() override { return 1e9; }
};

TEST_F(ConformanceTest, BenchTimesACase) {
  const Operator op = make_operator<SampleOp>();
  Ceilings ceilings;
  ceilings.read_rate = ceilings.copy_rate = ceilings.f32_rate = 1e9;
  ceilings.memory = std::make_shared<SlowMemory>();
  const auto result = run_bench(library_, op, op.cases()[4], ceilings,
                                {.min_seconds = 0.01, .rotate_bytes = 1 << 20});
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_GT(result->seconds, 0);
  EXPECT_LE(result->fastest, result->seconds);
  EXPECT_GE(result->uses, 9);
  EXPECT_EQ(result->ceiling, "copy");
  // The median of shares: equal to the share of the median but for the middle of an even count.
  EXPECT_NEAR(result->share * result->seconds, 64 * 256 * 8 / 1e9, 64 * 256 * 8 / 1e9 * 0.1);
}

TEST_F(ConformanceTest, CeilingsAreMeasured) {
  const auto ceilings = measure_ceilings(library_);
  ASSERT_TRUE(ceilings.ok());
  EXPECT_GT(ceilings->copy_rate, 0);
  EXPECT_GT(ceilings->f32_rate, 0);
  EXPECT_GE(ceilings->bf16_rate, ceilings->f32_rate);
}

TEST_F(ConformanceTest, PreparedOpsRunInASequence) {
  const Operator op = make_operator<SampleOp>();
  std::vector<std::pair<const Operator*, Problem>> uses;
  for (const int64_t rows : {2, 4})
    uses.emplace_back(&op, Problem::from_dims(*op.signature, {{"T", rows}, {"D", 16}},
                                              {{"x", DType::f32}, {"y", DType::f32}})
                               .value());
  const auto prepared = PreparedOp::prepare_all(library_, uses);
  ASSERT_TRUE(prepared.ok());
  EXPECT_EQ((*prepared)[1].kernel_count(), 2u);
  auto stream = device_->create_stream().value();
  auto x = device_->allocate(256).value(), y = device_->allocate(256).value();
  auto workspace = device_->allocate(static_cast<size_t>((*prepared)[1].workspace_bytes())).value();
  ASSERT_TRUE(stream->fill_words(*x, 0, 256, 0x3f800000).ok());  // 1.0
  const std::array<uint64_t, 3> there = {x->address(), 0, y->address()},
                                back = {y->address(), 0, x->address()};
  ASSERT_TRUE((*prepared)[1].run(*stream, there, workspace->address()).ok());
  ASSERT_TRUE((*prepared)[0].run(*stream, back, workspace->address()).ok());
  std::array<float, 64> numbers;
  ASSERT_TRUE(stream->copy_to_host(std::as_writable_bytes(std::span(numbers)), *x, 0).ok());
  ASSERT_TRUE(stream->synchronize().ok());
  EXPECT_EQ(numbers[0], 4);
  EXPECT_EQ(numbers[31], 4);
  EXPECT_EQ(numbers[32], 1) << "only two rows the second time";
}

}  // namespace
}  // namespace tessera::ops
