// SPDX-License-Identifier: Apache-2.0
// What compilation reports, and what it promises: equal images for equal traces, from many threads.
#include <fstream>
#include <thread>

#include "tessera/chips/cpu/target_differential.h"
#include "tessera/compiler/jit.h"
#include "tessera/lang/trace_samples.h"

namespace tessera::chips::cpu {

std::vector<std::unique_ptr<compiler::Target>> targets();

namespace {

using lang::Access;
using lang::KernelBuilder;
using lang::Tile;
using lang::View;

lang::Trace simpleTrace(int64_t columns = 64, bool streamed = false) {
  return lang::trace_kernel("test.simple",
                            [=](KernelBuilder& k) {
                              View x = k.view("x", DType::f32, 1, Access::kRead);
                              View y = k.view("y", DType::f32, 1, Access::kWrite,
                                              {.streamed = streamed});
                              Tile at = k.program_id(0) * columns;
                              store(y, {at}, exp(load(x, {at}, {columns})));
                            })
      .value();
}

TEST(CpuTargetErrors, TooMuchScratchMemoryNamesTheKernelAndTheLimit) {
  const lang::Trace trace = lang::trace_kernel("test.large", [](KernelBuilder& k) {
                              View x = k.view("x", DType::f32, 1, Access::kRead),
                                   y = k.view("y", DType::f32, 1, Access::kWrite);
                              constexpr int64_t kLarge = 1 << 20;
                              store(y, {0}, scan_sum(load(x, {0}, {kLarge}), 0));
                            }).value();
  const auto image = compileFor("cpu:x86-64", trace);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code, ErrorCode::unsupported);
  EXPECT_EQ(image.error().message,
            "kernel test.large: needs 12582912 bytes of scratch memory for one program; 4194304 "
            "are the limit: use "
            "smaller tiles");
}

TEST(CpuTargetErrors, IdentitiesDifferWhereCodeDoes) {
  compiler::Jit jit(targets());
  const std::string base = jit.identity("cpu:x86-64-v4+avx512bf16").value();
  EXPECT_NE(base, jit.identity("cpu:x86-64-v4+avx512bf16+avx512vnni").value());
  EXPECT_NE(base, jit.identity("cpu:x86-64-v3").value());
  EXPECT_EQ(base, jit.identity("cpu:x86-64-v4+avx512bf16").value());
  EXPECT_EQ(base, std::string(jit.version()) +
                      "; cpu:x86-64-v4 x86_64-unknown-linux-gnu x86-64-v4 +avx512bf16");
  EXPECT_FALSE(jit.identity("gpu:none").ok());
}

TEST(CpuTargetErrors, UnknownArchitectureListsTheKnownOnes) {
  compiler::Jit jit(targets());
  const auto image = jit.compile(simpleTrace(), "cpu:z80");
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code, ErrorCode::not_found);
  EXPECT_EQ(image.error().message,
            "no target compiles for \"cpu:z80\"; there are: cpu:x86-64, "
            "cpu:x86-64-v3, cpu:x86-64-v4");
}

TEST(CpuTargetErrors, AFeatureThatIsNotOptionalListsThoseThatAre) {
  compiler::Jit jit(targets());
  const auto error = [&](std::string_view arch) {
    return jit.compile(simpleTrace(), arch).error().message;
  };
  EXPECT_EQ(error("cpu:x86-64-v4+avx1024"),
            "cpu:x86-64-v4 has no optional feature \"avx1024\"; it has: avx512bf16, avx512vnni, "
            "avx512vbmi, avx512fp16, amx-tile, amx-bf16");
  EXPECT_EQ(error("cpu:x86-64-v3+avx512bf16"),
            "cpu:x86-64-v3 has no optional feature \"avx512bf16\"; it has: none");
}

/// Whatever this machine has: kernels for another one use what that one has, and ask for it.
TEST(CpuTarget, CompilesForTheFeaturesOfAnotherMachine) {
  compiler::Jit jit(targets());
  const auto image = jit.compile(simpleTrace(), "cpu:x86-64-v4+avx512vbmi+avx512bf16");
  ASSERT_TRUE(image.ok()) << image.error().to_string();
  EXPECT_EQ(image->required_features, (std::vector<std::string>{"avx512bf16", "avx512vbmi"}));
}

TEST(CpuTargetErrors, AssemblyFileThatCannotBeWritten) {
  compiler::CompileOptions options;
  options.dump_assembly = "/no/such/folder/kernel.s";
  const auto image = compileFor("cpu:x86-64", simpleTrace(), options);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code, ErrorCode::io);
  EXPECT_EQ(image.error().message, "/no/such/folder/kernel.s: No such file or directory");
}

TEST(CpuTarget, WritesAssembly) {
  compiler::CompileOptions options;
  options.dump_assembly = testing::TempDir() + "/tessera_kernel.s";
  ASSERT_TRUE(compileFor("cpu:x86-64-v3", simpleTrace(), options).ok());
  std::ifstream file(options.dump_assembly);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_NE(text.find("test.simple"), std::string::npos);
  EXPECT_NE(text.find("vfmadd"), std::string::npos);
}

TEST(CpuTarget, CompilesKernelsOfOneModuleOnce) {
  compiler::CodeMemo memo;
  compiler::CompileOptions options;
  options.memo = &memo;
  const auto compiled = [&](std::string name, double factor) {
    const auto trace = lang::trace_kernel(std::move(name), [&](KernelBuilder& k) {
      View x = k.view("x", DType::f32, 1, Access::kReadWrite);
      store(x, {0}, load(x, {0}, {16}) * factor);
    });
    return compileFor("cpu:x86-64", trace.value(), options).value();
  };
  const auto first = compiled("a.scale", 2), twin = compiled("b.scale", 2),
             other = compiled("c.scale", 3);
  EXPECT_EQ(first.entry, "a.scale");
  EXPECT_EQ(twin.entry, "a.scale");
  EXPECT_EQ(twin.code, first.code);
  EXPECT_EQ(other.entry, "c.scale");
  EXPECT_NE(other.code, first.code);
}

TEST(CpuTarget, EqualTracesGiveEqualImagesOnAllThreads) {
  for (const char* arch : {"cpu:x86-64", "cpu:x86-64-v3", "cpu:x86-64-v4"}) {
    const auto first = compileFor(arch, simpleTrace());
    ASSERT_TRUE(first.ok()) << first.error().to_string();
    EXPECT_EQ(first->entry, "test.simple");
    EXPECT_EQ(first->slot_count, 4u);
    std::vector<std::thread> threads;
    std::atomic<int> equal = 0;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        const auto again = compileFor(arch, simpleTrace());
        if (again.ok() && *again == *first) ++equal;
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(equal, 4);
  }
}

TEST(CpuTarget, CompilesEveryOpcode) {
  for (const char* arch : {"cpu:x86-64", "cpu:x86-64-v3", "cpu:x86-64-v4"}) {
    for (const lang::Trace& trace : {lang::sample_trace(), lang::every_opcode_trace()}) {
      const auto image = compileFor(arch, trace);
      EXPECT_TRUE(image.ok()) << arch << ": " << image.error().to_string();
    }
  }
}

TEST(CpuTarget, PrintsWhatEachPassMadeAndHowLongItTook) {
  compiler::CompileOptions options;
  options.print_ir = options.print_timing = true;
  testing::internal::CaptureStderr();
  ASSERT_TRUE(compileFor("cpu:x86-64", simpleTrace(), options).ok());
  const std::string text = testing::internal::GetCapturedStderr();
  for (const char* part : {"IR Dump After", "tile.kernel", "llvm.func @test.simple",
                           "Execution time report", "test.simple: context"})
    EXPECT_NE(text.find(part), std::string::npos) << part;
}

TEST(CpuTarget, StreamedStoresReachMemory) {
  for (int64_t count : {256, 300}) {
    const auto wave = [](int64_t i) { return std::sin(0.1 * static_cast<double>(i)); };
    Differential test({tensor(DType::bf16, {4, count}, wave),
                       tensor(DType::bf16, {4, count}, [](int64_t) { return 0.0; })});
    test.run(
        [](KernelBuilder& k) {
          View x = k.view("x", DType::bf16, 2, Access::kRead);
          View y = k.view("y", DType::bf16, 2, Access::kWrite, {.streamed = true});
          Tile row = k.program_id(0) * 2;
          k.for_range(0, x.extent(1), 64, [&](Tile c) {
            Tile v = cast(load(x, {row, c}, {2, 64}), DType::f32);
            store(y, {row, c}, cast(v * 2, DType::bf16));
          });
        },
        {.x = 2});
  }
}

}  // namespace
}  // namespace tessera::chips::cpu
