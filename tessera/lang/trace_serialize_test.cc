// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tessera/lang/trace_samples.h"

namespace tessera::lang {
namespace {

std::vector<std::byte> bytes_of(const Trace& trace, Trace::Lines lines = Trace::Lines::kOmit) {
  return trace.serialize(lines);
}

TEST(TraceBytes, RoundTrip) {
  for (const Trace& trace : {sample_trace(), every_opcode_trace()}) {
    const auto bytes = bytes_of(trace);
    auto parsed = Trace::parse(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
    EXPECT_EQ(bytes_of(*parsed), bytes);
    EXPECT_TRUE(parsed->lines.empty());
    Trace bare = trace;
    bare.lines.clear();
    EXPECT_EQ(parsed->to_string(), bare.to_string());
  }
}

TEST(TraceBytes, LinesAreKeptWhenAskedFor) {
  const Trace trace = sample_trace();
  auto parsed = Trace::parse(bytes_of(trace, Trace::Lines::kKeep));
  ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
  EXPECT_EQ(parsed->to_string(), trace.to_string());
  EXPECT_EQ(parsed->hash(), trace.hash());
}

TEST(TraceBytes, HashSeesTheKernelAndNotItsLines) {
  EXPECT_EQ(sample_trace().hash(), sample_trace().hash());
  Trace moved = sample_trace();
  for (SourceLine& line : moved.lines) line.line += 10;
  EXPECT_EQ(moved.hash(), sample_trace().hash());
  EXPECT_NE(every_opcode_trace().hash(), sample_trace().hash());
  Trace other = sample_trace();
  other.warps = 8;
  EXPECT_NE(other.hash(), sample_trace().hash());
}

/// Caches and packs of earlier builds stay valid only while this holds; kVersion rises when it
/// changes.
TEST(TraceBytes, HashIsStable) {
  EXPECT_EQ(sample_trace().hash().hex(), "317b1f4062ccc404d68a4e8c47bb08ed");
}

TEST(TraceBytes, EveryTruncationIsRefused) {
  for (const auto lines : {Trace::Lines::kOmit, Trace::Lines::kKeep}) {
    const auto bytes = bytes_of(sample_trace(), lines);
    for (size_t n = 0; n < bytes.size(); ++n) {
      auto parsed = Trace::parse(std::span(bytes).first(n));
      ASSERT_FALSE(parsed.ok()) << n;
      ASSERT_EQ(parsed.error().code, ErrorCode::corrupt);
    }
  }
}

TEST(TraceBytes, FlippedBitsNeverCrash) {
  for (const Trace& trace : {sample_trace(), every_opcode_trace()}) {
    const auto bytes = bytes_of(trace, Trace::Lines::kKeep);
    int accepted = 0;
    const size_t step = bytes.size() < 4096 ? 1 : 7;  // coprime to 8: every bit of some byte
    for (size_t bit = 0; bit < bytes.size() * 8; bit += step) {
      auto changed = bytes;
      changed[bit / 8] ^= std::byte{1} << static_cast<int>(bit % 8);
      auto parsed = Trace::parse(changed);
      if (!parsed.ok()) {
        ASSERT_EQ(parsed.error().code, ErrorCode::corrupt);
        continue;
      }
      // What is accepted is whole: it prints, and gives the bytes it came from.
      ++accepted;
      ASSERT_FALSE(parsed->to_string().empty());
      ASSERT_EQ(bytes_of(*parsed, Trace::Lines::kKeep), changed);
    }
    EXPECT_GT(accepted, 0);  // names, constants, lines
  }
}

std::string parse_error(const Trace& trace) {
  auto parsed = Trace::parse(trace.serialize());
  return parsed.ok() ? "" : parsed.error().message;
}

TEST(TraceBytes, SaysWhatIsWrong) {
  EXPECT_EQ(Trace::parse({}).error().message, "trace: the bytes are no trace");
  auto bytes = bytes_of(sample_trace());
  bytes[4] = std::byte{77};
  EXPECT_EQ(Trace::parse(bytes).error().message, "trace: version 77, this program reads version 2");
  bytes = bytes_of(sample_trace());
  bytes.push_back(std::byte{0});
  EXPECT_EQ(Trace::parse(bytes).error().message, "trace: 1 bytes too many");
  bytes.resize(60);
  EXPECT_EQ(Trace::parse(bytes).error().message, "trace: the bytes end early");

  Trace trace = sample_trace();
  trace.body.nodes.back().operands[0] = 12;  // defined inside the loop
  EXPECT_EQ(parse_error(trace), "trace 'sample.rows': if: operand 12 is not visible");
  trace = sample_trace();
  trace.body.nodes[0].results[0] = 1000;
  EXPECT_EQ(parse_error(trace), "trace 'sample.rows': scalar_arg: result 1000 does not exist");
  trace = sample_trace();
  trace.body.nodes[1].results[0] = 0;
  EXPECT_EQ(parse_error(trace), "trace 'sample.rows': program_id: the result is an i64 scalar");
  trace = sample_trace();
  trace.body.nodes[5].results[0] = 1;
  EXPECT_EQ(parse_error(trace), "trace 'sample.rows': value 1 is defined twice");
  trace = sample_trace();
  trace.slot_count = 12;
  EXPECT_EQ(parse_error(trace), "trace 'sample.rows': 12 slots declared, 11 counted");
  trace = sample_trace();
  trace.body.nodes.back().regions.pop_back();
  EXPECT_EQ(parse_error(trace), "trace 'sample.rows': if: 1 regions");
  trace = sample_trace();
  trace.body.nodes[7].regions[0].yields = {8, 8};
  EXPECT_EQ(parse_error(trace), "trace 'sample.rows': for: wrong yields");
  trace = sample_trace();
  trace.body.nodes.pop_back();
  EXPECT_EQ(parse_error(trace), "trace 'sample.rows': a value is never defined");
  trace = sample_trace();
  trace.values[4].shape = {1, 65};
  EXPECT_EQ(parse_error(trace),
            "trace 'sample.rows': shape [1, 65]: extent 65 is not a power of two");
}

TEST(TraceBytes, DeepNestingIsRefused) {
  Trace trace = sample_trace();
  trace.body.nodes.clear();
  Block* block = &trace.body;
  for (int i = 0; i < 1000; ++i) {
    Node node;
    node.op = Opcode::kIf;
    node.regions.resize(1);
    block->nodes.push_back(std::move(node));
    block = &block->nodes[0].regions[0];
  }
  EXPECT_EQ(parse_error(trace), "trace: too deeply nested");
}

}  // namespace
}  // namespace tessera::lang
