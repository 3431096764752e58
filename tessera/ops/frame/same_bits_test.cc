// SPDX-License-Identifier: Apache-2.0
// The comparison finds results that depend on the threads or on other rows, and only those.
#include "tessera/ops/frame/same_bits.h"

#include <gtest/gtest.h>

#include "tessera/kernels/testing/sample_kernels.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/ops/frame/testing/sample_operators.h"

namespace tessera::ops {
namespace {

using testing::Mistake;
using testing::SampleOp;
using testing::WrongOp;
using Status = OperatorReport::Status;

/// SampleOp, but each row adds the first element of the row after it.
struct LeaningOp : SampleOp {
  static void plan(PlanBuilder& b) {
    b.kernel("lean", {b.dim("T")}, {b.tensor("x"), b.tensor("y")},
             [](KernelBuilder& k, View from, View to) {
               const Tile row = k.program_id(0);
               const Tile next = cast(load(from, {row + 1, 0}, {1, 1}), DType::f32);
               k.for_range(0, from.extent(1), 16, [&](Tile c) {
                 const Tile tile = cast(load(from, {row, c}, {1, 16}), DType::f32);
                 store(to, {row, c}, cast(tile + next, to.dtype()));
               });
             });
  }
};

/// Compiles every kernel to one and the same.
class Replacing final : public kernels::Provider {
 public:
  explicit Replacing(lang::Trace trace) : trace_(std::move(trace)) {}
  std::string_view version() const override { return "replacing"; }
  Result<std::string> identity(std::string_view) const override { return std::string(); }
  Result<runtime::Capabilities> capabilities(std::string_view) const override {
    return runtime::Capabilities();
  }
  Result<runtime::KernelImage> compile(const lang::Trace&, std::string_view) override {
    return kernels::testing::image_of(trace_);
  }

 private:
  lang::Trace trace_;
};

class SameBitsTest : public ::testing::Test {
 protected:
  OperatorReport run(const Operator& op, std::shared_ptr<kernels::Provider> other = {}) {
    const auto device = runtime::open_device("null").value();
    const auto right = std::make_shared<kernels::testing::TraceProvider>();
    kernels::KernelLibrary one(*device, {.provider = right});
    kernels::KernelLibrary many(*device, {.provider = other ? other : right});
    const Operator* const list[] = {&op};
    return check_same_bits(one, many, list)[0];
  }
};

TEST_F(SameBitsTest, ARightOperatorPasses) {
  const OperatorReport report = run(make_operator<SampleOp>());
  EXPECT_EQ(report.status, Status::kPassed);
  std::vector<std::string> texts;
  for (const CaseReport& c : report.cases) {
    EXPECT_EQ(c.wrong, "") << c.text;
    texts.push_back(c.text.substr(0, c.text.find(' ', c.text.find("T="))));
  }
  // The three counts of tokens without bias are one case of 64 rows.
  EXPECT_EQ(texts,
            (std::vector<std::string>{"threads: D=37 T=0", "row: D=37 T=64", "threads: D=37 T=1",
                                      "threads: D=37 T=3", "threads: D=64 T=5", "row: D=64 T=64"}));
}

TEST_F(SameBitsTest, FindsARowThatDependsOnAnother) {
  const OperatorReport report = run(make_operator<LeaningOp>());
  EXPECT_EQ(report.status, Status::kFailed);
  EXPECT_EQ(report.cases[0].wrong, "");
  EXPECT_TRUE(report.cases[1].wrong.starts_with("y[0, 0] is ")) << report.cases[1].wrong;
  EXPECT_NE(report.cases[1].wrong.find(" as row 0 of 64"), std::string::npos)
      << report.cases[1].wrong;
}

/// y[t, d] = x[t, d] + positions[t], or t where they are left out.
struct NumberedOp {
  static Signature signature() {
    Signature s = SampleOp::signature();
    s.tensors = {in("x", "T,D", {DType::f32}), optional(in("positions", "T", {DType::i32})),
                 out("y", "T,D", {DType::f32})};
    return s;
  }
  static void plan(PlanBuilder& b) {
    const bool placed = b.has("positions");
    b.kernel("add", {b.dim("T")},
             {b.tensor("x"), b.tensor(placed ? "positions" : "x"), b.tensor("y")},
             [placed](KernelBuilder& k, View x, View positions, View y) {
               const Tile t = k.program_id(0);
               const Tile place = placed ? load_scalar(positions, {t}) : cast(t, DType::i32);
               k.for_range(0, x.extent(1), 16, [&](Tile c) {
                 store(y, {t, c}, load(x, {t, c}, {16}) + cast(place, DType::f32));
               });
             });
  }
  static void reference(const Reference&) {}
  static std::vector<Case> cases() {
    return {{{{"T", 4}, {"D", 8}}}, {{{"T", 4}, {"D", 8}}, {{"positions", DType::i32}}}};
  }
  static Tolerance tolerance(const Problem&) { return {}; }
  static Cost cost(const Problem&) { return {}; }
};

TEST_F(SameBitsTest, LeavesOutRowsWhoseNumberCounts) {
  const OperatorReport report = run(make_operator<NumberedOp>());
  EXPECT_EQ(report.status, Status::kPassed);
  std::vector<std::string> texts;
  for (const CaseReport& c : report.cases) texts.push_back(c.text);
  EXPECT_EQ(texts, (std::vector<std::string>{"threads: D=8 T=4", "threads: D=8 T=4 positions=i32",
                                             "row: D=8 T=64 positions=i32"}));
}

TEST_F(SameBitsTest, FindsResultsThatDependOnTheThreads) {
  const Operator op = make_operator<WrongOp<Mistake::kReference>>();
  const Operator off = make_operator<WrongOp<Mistake::kWrongValue>>();
  const auto problem = Problem::from_dims(*off.signature, {{"T", 8}}).value();
  auto traces = trace_plan(make_plan(off, problem, {})).value();
  const OperatorReport report = run(op, std::make_shared<Replacing>(std::move(traces[0])));
  EXPECT_EQ(report.status, Status::kFailed);
  const std::string& wrong = report.cases[0].wrong;
  EXPECT_TRUE(wrong.starts_with("y[5] is ")) << wrong;
  EXPECT_NE(wrong.find(" with one thread, "), std::string::npos) << wrong;
}

}  // namespace
}  // namespace tessera::ops
