// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/trace.h"

#include <gtest/gtest.h>

#include "tessera/lang/trace_samples.h"

namespace tessera::lang {
namespace {

TEST(Trace, PrintsReadably) {
  Trace trace = sample_trace();
  trace.lines.clear();
  EXPECT_EQ(trace.to_string(), R"(kernel sample.rows
  warps 4
  view x: bf16[?, ? %16] strides [? %128] read, slot 0
  view y: f32[?, ?] strides [?] read-write streamed, slot 4
  view ids: i32[?] read constant, slot 8
  scalar eps: f32, slot 10
  %0 = scalar_arg eps : f32
  %1 = program_id {0} : i64
  %2 = load ids[%1] : i32
  %3 = extent x 1 : i64
  %4 = constant 0 : f32[1, 64]
  %5 = constant 0 : i64
  %6 = constant 64 : i64
  %13 = for %7 from %5 to %3 step %6 carry %8 = %4 : f32[1, 64]
    %9 = cast %2 : i64
    %10 = load x[%1, %7 < %9] fill 0.5 : bf16[1, 64]
    %11 = cast %10 : f32[1, 64]
    %12 = add %8, %11 : f32[1, 64]
    yield %12
  %14 = reduce %13 axis 1 sum : f32[1, 1]
  %15 = broadcast %0 : f32[1, 1]
  %16 = add %14, %15 : f32[1, 1]
  %17 = constant 3 : i64
  %18 = compare %1, %17 lt : i1
  if %18
    %19 = broadcast %16 : f32[1, 64]
    %20 = div %13, %19 : f32[1, 64]
    %21 = constant 0 : f32[1, 64]
    %22 = compare %13, %21 gt : i1[1, 64]
    %23 = constant 0 : i64
    store y[%1, %23], %20 where %22 : f32[1, 64]
)");
}

TEST(Trace, NodesKnowTheAuthorsLine) {
  const Trace trace = sample_trace();
  EXPECT_EQ(trace.line(trace.body.nodes[0]).substr(0, 28), "tessera/lang/trace_samples.h");
  EXPECT_NE(trace.to_string().find("  // tessera/lang/trace_samples.h:"), std::string::npos);
}

TEST(Trace, DecodesMemoryAccesses) {
  const Trace trace = sample_trace();
  const Node& loop = trace.body.nodes[7];
  ASSERT_EQ(loop.op, Opcode::kFor);
  const MemoryAccess load = trace.memory_access(loop.regions[0].nodes[1]);
  EXPECT_EQ(load.view, 0u);
  EXPECT_EQ(load.offsets, (std::vector<ValueId>{1, 7}));
  EXPECT_EQ(load.extent_override, (std::vector<ValueId>{-1, 9}));
  EXPECT_EQ(load.fill, 0x3f000000);
  EXPECT_EQ(load.tile, -1);
  EXPECT_EQ(load.rows, -1);
  const MemoryAccess store = trace.memory_access(trace.body.nodes.back().regions[0].nodes.back());
  EXPECT_EQ(store.view, 1u);
  EXPECT_EQ(store.tile, 20);
  EXPECT_EQ(store.mask, 22);

  const Trace all = every_opcode_trace();
  for (const Node& node : all.body.nodes) {
    if (node.op != Opcode::kScatter && node.op != Opcode::kGather && node.op != Opcode::kAtomicAdd)
      continue;
    const MemoryAccess access = all.memory_access(node);
    EXPECT_EQ(all.type(access.rows).dtype, DType::i32);
    EXPECT_EQ(access.tile >= 0, node.op != Opcode::kGather);
    EXPECT_EQ(access.mask, -1);
  }
}

TEST(Trace, SlotsAreConsecutive) {
  const Trace trace = sample_trace();
  EXPECT_EQ(trace.slot_count, 11u);
  EXPECT_EQ(trace.views[0].address_slot(), 0u);
  EXPECT_EQ(trace.views[0].extent_slot(1), 2u);
  EXPECT_EQ(trace.views[0].stride_slot(0), 3u);
  EXPECT_EQ(trace.views[1].first_slot, 4u);
  EXPECT_EQ(trace.views[2].slot_count(), 2u);
  EXPECT_EQ(trace.scalars[0].slot, 10u);
}

TEST(Trace, SampleHoldsEveryOpcode) {
  const std::string text = every_opcode_trace().to_string();
  for (int op = 0; op < kOpcodeCount; ++op) {
    const std::string name(mnemonic(static_cast<Opcode>(op)));
    const bool found = text.find("= " + name + " ") != std::string::npos ||
                       text.find("  " + name + " ") != std::string::npos;
    EXPECT_TRUE(found) << name << "\n" << text;
  }
}

}  // namespace
}  // namespace tessera::lang
