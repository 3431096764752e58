// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/problem.h"

#include <gtest/gtest.h>

#include "tessera/ops/frame/extent.h"
#include "tessera/ops/frame/near_names.h"

namespace tessera::ops {
namespace {

const Signature& linear() {
  static const Signature signature = {
      .name = "linear",
      .family = "testing",
      .rows = "",
      .summary = "",
      .formula = "",
      .source = "",
      .tensors = {in("x", "T,K", {DType::bf16, DType::f32}), weight("w", "N,K", {DType::f8e4m3}),
                  weight("s", "N/128,K/128", {DType::f8e8m0}),
                  optional(in("bias", "N", {DType::f32})), out("y", "T,N", {DType::bf16})},
      .attributes = {{"eps", 1e-6}, {"clamp", 0}}};
  return signature;
}

std::string error_of(const Result<Problem>& problem) {
  return problem.ok() ? "no error" : problem.error().message;
}

TEST(Extent, Evaluates) {
  const auto all = parse_extents("T, 8,K/128,T*8/3,B+1,B-2").value();
  ASSERT_EQ(all.size(), 6u);
  EXPECT_TRUE(all[0].plain());
  EXPECT_EQ(all[1].evaluate(99), 8);
  EXPECT_EQ(all[2].evaluate(129), 2) << "rounded up";
  EXPECT_EQ(all[3].evaluate(2), 6);
  EXPECT_EQ(all[4].evaluate(4), 5);
  EXPECT_EQ(all[5].evaluate(1), 0);
  EXPECT_TRUE(parse_extents("")->empty());
}

TEST(Extent, RefusesWhatItCannotRead) {
  for (const char* text : {"T,", ",T", "T*", "T*N", "8T", "T//2", "T/0", "(T)"})
    EXPECT_FALSE(parse_extents(text).ok()) << text;
  EXPECT_EQ(
      parse_extents("T*N").error().message,
      "extent \"T*N\" is neither a number nor a name with steps such as T, T*8, K/128 or B+1");
}

TEST(ProblemFromDims, MakesShapesAndDtypes) {
  const auto p = Problem::from_dims(linear(), {{"T", 3}, {"K", 200}, {"N", 256}},
                                    {{"x", DType::f32}}, {{"clamp", 10}});
  ASSERT_TRUE(p.ok()) << error_of(p);
  EXPECT_EQ(p->tensor("s").shape, (Shape{2, 2}));
  EXPECT_EQ(p->dtype("w"), DType::f8e4m3);
  EXPECT_FALSE(p->has("bias"));
  EXPECT_TRUE(p->flag("clamp"));
  EXPECT_EQ(p->attribute("eps"), 1e-6);
  EXPECT_TRUE(p->is_dynamic("T"));
  EXPECT_FALSE(p->is_dynamic("K"));
  EXPECT_EQ(p->to_string(), "K=200 N=256 T=3 x=f32 clamp=10");
}

TEST(ProblemFromDims, ListsEveryMistake) {
  EXPECT_EQ(error_of(Problem::from_dims(linear(), {{"T", -1}, {"K", 1}, {"M", 1}},
                                        {{"w", DType::f32}, {"q", DType::f32}}, {{"espilon", 1}})),
            "linear: no attribute espilon; there are: eps, clamp; no tensor has a dimension M; T "
            "is -1; no tensor q; x "
            "may be bf16, f32: say which; w is f32, allowed: f8e4m3; N of w has no value; N of s "
            "has no value; N of y "
            "has no value");
}

TEST(ProblemFromDims, TakesAndChecksStrides) {
  const auto make = [](std::map<std::string, std::vector<int64_t>> strides) {
    return Problem::from_dims(linear(), {{"T", 3}, {"K", 256}, {"N", 128}}, {{"x", DType::f32}}, {},
                              strides);
  };
  EXPECT_EQ(make({{"x", {8, 1}}})->tensor("x").bytes(), (2 * 8 + 256) * 4u) << "rows overlap";
  EXPECT_EQ(error_of(make({{"x", {256, 2}}, {"q", {1}}})),
            "linear: no tensor q; the last stride of x is 2, it must be 1");
}

TensorDesc desc(DType dtype, Shape shape, std::vector<int64_t> strides = {}) {
  return {dtype, shape, std::move(strides)};
}

TEST(ProblemFromTensors, BindsDimensions) {
  const auto p = Problem::from_tensors(
      linear(), {desc(DType::bf16, {3, 256}, {512, 1}), desc(DType::f8e4m3, {128, 256}),
                 desc(DType::f8e8m0, {1, 2}), std::nullopt, desc(DType::bf16, {3, 128})});
  ASSERT_TRUE(p.ok()) << error_of(p);
  EXPECT_EQ(p->dim("N"), 128);
  EXPECT_EQ(p->tensor("x").stride(0), 512);
  EXPECT_EQ(p->tensor("x").bytes(), (2 * 512 + 256) * 2u);
}

TEST(ProblemFromTensors, NamesTheTensorThatDisagrees) {
  EXPECT_EQ(error_of(Problem::from_tensors(
                linear(), {desc(DType::bf16, {3, 256}), desc(DType::f8e4m3, {128, 255}),
                           desc(DType::f8e8m0, {1, 2}), std::nullopt, desc(DType::f32, {3, 128})})),
            "linear: w is f8e4m3[128, 255], expected [N, K] with N = 128 (from w), K = 256 (from "
            "x); y is f32, allowed: "
            "bf16");
  EXPECT_EQ(error_of(Problem::from_tensors(
                linear(), {std::nullopt, desc(DType::f8e4m3, {128, 256}),
                           desc(DType::f8e8m0, {1, 3}), std::nullopt, std::nullopt})),
            "linear: x is missing; s is f8e8m0[1, 3], expected [N/128, K/128] with N = 128 (from "
            "w), K = 256 (from w); y "
            "is missing");
  EXPECT_EQ(error_of(Problem::from_tensors(linear(), {})),
            "linear: 0 tensors given, the signature has 5");
}

TEST(ProblemFromTensors, ChecksStrides) {
  const auto with = [](std::vector<int64_t> strides) {
    return error_of(Problem::from_tensors(
        linear(), {desc(DType::bf16, {3, 256}, std::move(strides)), desc(DType::f8e4m3, {128, 256}),
                   desc(DType::f8e8m0, {1, 2}), std::nullopt, desc(DType::bf16, {3, 128})}));
  };
  EXPECT_EQ(with({256, 2}), "linear: the last stride of x is 2, it must be 1");
  EXPECT_EQ(with({1}), "linear: x has 1 strides for 2 dimensions");
  EXPECT_EQ(with({-256, 1}), "linear: stride 0 of x is -256");
}

TEST(TensorDescBytes, CountsHalfBytesAndEmptyTensors) {
  EXPECT_EQ(desc(DType::f4e2m1, {3, 5}).bytes(), 8u);
  EXPECT_EQ(desc(DType::f32, {0, 5}).bytes(), 0u);
  EXPECT_EQ(desc(DType::f32, {}).bytes(), 4u);
}

TEST(NearNames, FindsTyposAndParts) {
  const std::vector<std::string_view> names = {"rms_norm", "rope", "head_rms_norm", "gate"};
  EXPECT_EQ(near_names("rms_nrm", names), std::vector<std::string_view>{"rms_norm"});
  EXPECT_EQ(near_names("norm", names),
            (std::vector<std::string_view>{"rms_norm", "head_rms_norm"}));
  EXPECT_TRUE(near_names("xyzzy", names).empty());
}

}  // namespace
}  // namespace tessera::ops
