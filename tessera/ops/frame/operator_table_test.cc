// SPDX-License-Identifier: Apache-2.0
// What holds for every operator of this build, whatever the chip.
#include "tessera/ops/frame/operator_table.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/prepared.h"

namespace tessera::ops {
namespace {

TEST(OperatorHeaders, NameAndFamilyFollowTheFile) {
  for (const OperatorHeader& header : operator_headers()) {
    const auto op = header.make();
    if (!op) continue;
    const std::filesystem::path path(header.path);
    EXPECT_EQ(op->signature->name, path.stem().string()) << header.path;
    EXPECT_EQ(op->signature->family, path.parent_path().filename().string()) << header.path;
  }
}

TEST(AllOperators, AreSortedUniqueAndDocumented) {
  std::set<std::string> names;
  std::pair<std::string, std::string> last;
  for (const Operator& op : all_operators()) {
    const Signature& s = *op.signature;
    EXPECT_TRUE(names.insert(s.name).second) << s.name << " exists twice";
    const std::pair<std::string, std::string> key(s.family, s.name);
    EXPECT_LT(last, key);
    last = key;
    EXPECT_FALSE(s.summary.empty() || s.formula.empty() || s.source.empty()) << s.name;
    std::set<std::string> tensors;
    for (const TensorSpec& tensor : s.tensors) {
      EXPECT_TRUE(tensors.insert(tensor.name).second) << s.name << ": " << tensor.name;
      EXPECT_FALSE(tensor.dtypes.empty()) << s.name << ": " << tensor.name;
    }
  }
}

TEST(AllOperators, EveryCaseIsValidAndTraces) {
  for (const Operator& op : all_operators()) {
    int tests = 0;
    for (const Case& c : op.cases()) {
      tests += c.test ? 1 : 0;
      EXPECT_TRUE(c.test || c.bench) << op.signature->name;
      const auto problem = problem_of(op, c);
      ASSERT_TRUE(problem.ok()) << problem.error().to_string();
      for (const bool deterministic : {false, true}) {
        const PlanOptions options{.deterministic = deterministic};
        const auto traces = trace_plan(make_plan(op, *problem, {}, options));
        EXPECT_TRUE(traces.ok()) << case_text(op, c) << ": " << traces.error().to_string();
      }
      const Cost cost = op.cost(*problem);
      if (c.bench) EXPECT_GT(cost.bytes_read + cost.bytes_written, 0) << case_text(op, c);
    }
    EXPECT_GT(tests, 0) << op.signature->name << " is not tested";
  }
}

/// Any numbers a chip may state give plans that trace.
TEST(AllOperators, PlansTraceUnderOtherCapabilities) {
  runtime::Capabilities small, large;
  small.vector_tile = 8;
  small.program_grain = 64;
  small.gemv_rows = 4;
  small.attention_keys = 16;
  small.sort_tile = 64;
  for (runtime::DotTile& tile : small.dot_tile) tile = {1, 1, 32};
  large.vector_tile = 1024;
  large.program_grain = 65536;
  large.gemv_rows = 512;
  large.attention_keys = 128;
  large.sort_tile = 4096;
  for (runtime::DotTile& tile : large.dot_tile) tile = {128, 128, 128};
  for (const Operator& op : all_operators())
    for (const Case& c : op.cases())
      for (const runtime::Capabilities& capabilities : {small, large}) {
        const auto problem = problem_of(op, c).value();
        const auto traces = trace_plan(make_plan(op, problem, capabilities));
        EXPECT_TRUE(traces.ok()) << op.signature->name << " " << case_text(op, c) << ": "
                                 << traces.error().to_string();
      }
}

TEST(FindOperator, SuggestsNearNames) {
  if (all_operators().empty()) GTEST_SKIP() << "no operators in this build";
  const std::string name = all_operators()[0].signature->name;
  EXPECT_EQ((*find_operator(name))->signature->name, name);
  const auto missing = find_operator(name + "x");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().message.find("did you mean " + name), std::string::npos);
  EXPECT_EQ(match_operators(name).size(), 1u);
  EXPECT_EQ(match_operators("*").size(), all_operators().size());
  EXPECT_EQ(match_operators(all_operators()[0].signature->family + "/" + name).size(), 1u);
}

}  // namespace
}  // namespace tessera::ops
