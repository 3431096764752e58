// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/case_data.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tessera/ops/frame/testing/sample_operators.h"

namespace tessera::ops {
namespace {

struct FillOp : testing::SampleOp {
  static Signature signature() {
    Signature s = testing::SampleOp::signature();
    s.tensors = {in("x", "T,D", {DType::f32}),      weight("w", "D", {DType::f32}),
                 weight("q", "D", {DType::f4e2m1}), weight("s", "D", {DType::f8e8m0}),
                 in("ids", "T", {DType::i32}),      inout("y", "T,D", {DType::f32})};
    return s;
  }
  static void reference(const Reference& r) { r.out("y").set({0, 0}, 7); }
};

CaseData make(const Case& c) {
  return std::move(CaseData::make(make_operator<FillOp>(), c)).value();
}

const Case kCase = {.dims = {{"T", 16}, {"D", 256}}};

TEST(CaseData, EqualSeedsGiveEqualBytes) {
  const CaseData a = make(kCase), b = make(kCase);
  Case other = kCase;
  other.seed = 2;
  EXPECT_EQ(a.inputs()[0].bytes(), b.inputs()[0].bytes());
  EXPECT_NE(a.inputs()[0].bytes(), make(other).inputs()[0].bytes());
}

TEST(CaseData, DefaultsFitTheirKind) {
  const CaseData data = make(kCase);
  const auto deviation = [](const HostTensor& t) {
    double sum = 0;
    for (int64_t i = 0; i < t.numel(); ++i) sum += t.flat(i) * t.flat(i);
    return std::sqrt(sum / static_cast<double>(t.numel()));
  };
  EXPECT_NEAR(deviation(data.inputs()[0]), 1, 0.05);
  EXPECT_NEAR(deviation(data.inputs()[1]), 1.0 / 16, 0.02) << "weights are divided by sqrt(K)";
  std::set<double> codes, scales;
  for (int64_t i = 0; i < 256; ++i) {
    codes.insert(data.inputs()[2].flat(i));
    scales.insert(data.inputs()[3].flat(i));
    EXPECT_EQ(data.inputs()[4].flat(i % 16), 0);
  }
  EXPECT_GE(codes.size(), 12u) << "narrow weights fill their range";
  EXPECT_EQ(*scales.begin(), 0.0625);
  EXPECT_EQ(*scales.rbegin(), 16);
}

TEST(CaseData, InoutStartsAsItsInput) {
  const CaseData data = make(kCase);
  const Expected& y = data.expected()[5];
  EXPECT_EQ(y.at({0, 0}), 7);
  EXPECT_EQ(y.at({3, 5}), data.inputs()[5].at({3, 5}));
  EXPECT_TRUE(y.is_set(9));
}

TEST(CaseData, LargeTensorsRepeatTheirFirstPart) {
  const Case large = {.dims = {{"T", 5 << 10}, {"D", 1 << 10}}};
  const auto data = CaseData::make(make_operator<FillOp>(), large, CaseData::Content::kInputs);
  ASSERT_TRUE(data.ok());
  EXPECT_TRUE(data->expected().empty());
  EXPECT_EQ(data->inputs()[0].flat(17), data->inputs()[0].flat(17 + (4 << 20)));
}

TEST(CaseData, ABadCaseIsAnError) {
  const auto data = CaseData::make(make_operator<FillOp>(), {.dims = {{"T", 16}}});
  ASSERT_FALSE(data.ok());
  EXPECT_EQ(data.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(case_text(make_operator<FillOp>(), {.dims = {{"T", 16}}, .note = "short"}),
            "invalid case, short");
}

TEST(HostTensor, ReadsAndWritesStridedElements) {
  HostTensor t({DType::bf16, {2, 3}, {8, 1}});
  EXPECT_EQ(t.bytes().size(), 22u);
  t.set({1, 2}, 1.5);
  t.decode();
  EXPECT_EQ(t.at({1, 2}), 1.5);
  EXPECT_EQ(t.flat(5), 1.5);
  t.set_flat(5, 2.5);
  EXPECT_EQ(t.at({1, 2}), 2.5) << "a write ends the decoded state";
}

}  // namespace
}  // namespace tessera::ops
