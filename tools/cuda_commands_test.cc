// SPDX-License-Identifier: Apache-2.0
// What the cuda chip says when something is wrong, and packs of machine code, with a stand-in for
// NVIDIA's driver: no GPU is needed, and none is used.
#include <dlfcn.h>

#include "tools/program_run.h"

namespace tessera {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class CudaCommandsTest : public ProgramTest {
 protected:
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    const Output made = tessera("pack --chip cuda:sm_90a --op cast -o " + pack());
    ASSERT_EQ(made.exit_code, 0) << made.text;
  }
  static std::string pack() { return path("cast.pack"); }
  /// The stand-in's machine code of that pack.
  static std::string finished() { return pack() + ".sm_90-driver13000"; }

  /// tessera-rt with the stand-in, which `mode` breaks.
  static Output with_driver(const std::string& mode, const std::string& arguments,
                            const char* folder = "TESSERA_FAKE_CUDA_DIR") {
    return shell("LD_LIBRARY_PATH=" + environment(folder) + " TESSERA_FAKE_CUDA=" + mode + " " +
                 environment("TESSERA_RT_PROGRAM") + " " + arguments);
  }
  static Output run_cast(const std::string& mode, const char* folder = "TESSERA_FAKE_CUDA_DIR") {
    return with_driver(mode, "ops test --op cast --case T=3 --chip cuda --pack " + pack(), folder);
  }
  static void expect_refused(const std::string& mode, const std::string& text,
                             const char* folder = "TESSERA_FAKE_CUDA_DIR") {
    const Output output = run_cast(mode, folder);
    EXPECT_NE(output.exit_code, 0);
    EXPECT_TRUE(contains(output, text)) << output.text;
    // The chips that are not named stay usable.
    const Output chips = with_driver(mode, "chips", folder);
    EXPECT_EQ(chips.exit_code, 0);
    EXPECT_TRUE(contains(chips, "cpu")) << chips.text;
  }
};

TEST_F(CudaCommandsTest, NoDriver) {
  if (void* real = ::dlopen("libcuda.so.1", RTLD_LAZY)) {
    ::dlclose(real);
    GTEST_SKIP() << "this machine has a CUDA driver";
  }
  const Output output = tessera_rt("ops test --op cast --chip cuda --pack " + pack());
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "no CUDA driver: libcuda.so.1 cannot be opened")) << output.text;
}

TEST_F(CudaCommandsTest, OldDriver) {
  expect_refused("", "the CUDA driver is too old: it lacks cuLinkComplete", "TESSERA_OLD_CUDA_DIR");
}

TEST_F(CudaCommandsTest, NoGpu) {
  expect_refused("no-device", "the CUDA driver does not start: no CUDA-capable device is detected");
}

TEST_F(CudaCommandsTest, OldGpu) {
  expect_refused("old-gpu",
                 "Fake GPU has compute capability 6.1; the cuda chip needs 7.0 or newer");
}

TEST_F(CudaCommandsTest, OutOfMemory) {
  const Output output =
      with_driver("small-memory", "ops bench --op cast --chip cuda --pack " + pack());
  EXPECT_NE(output.exit_code, 0);
  EXPECT_TRUE(contains(output, "bytes requested on Fake GPU, 65536 free of 65536")) << output.text;
}

TEST_F(CudaCommandsTest, KernelThatDoesNotLoad) {
  expect_refused("bad-kernel",
                 "CUDA error 218 (CUDA_ERROR): a PTX JIT compilation failed\n"
                 "ptxas fatal: line 7 is wrong");
}

TEST_F(CudaCommandsTest, LostDevice) {
  expect_refused("lost",
                 "synchronize: CUDA error 719 (CUDA_ERROR_LAUNCH_FAILED): unspecified "
                 "launch failure; this program cannot use the GPU any more, start it again");
}

TEST_F(CudaCommandsTest, AFinishedPackLeavesTheDriverNothingToCompile) {
  fs::remove(finished());
  EXPECT_TRUE(contains(run_cast(""), " from packs, 0 from the cache, "));
  EXPECT_FALSE(contains(run_cast(""), " 0 compiled by the driver"));

  const Output made = with_driver("", "pack --finish " + pack() + " --chip cuda");
  EXPECT_EQ(made.exit_code, 0) << made.text;
  EXPECT_TRUE(contains(made, finished() + ": ")) << made.text;
  EXPECT_TRUE(contains(made, " kernels for Fake GPU, ")) << made.text;
  const Output after = run_cast("");
  EXPECT_TRUE(contains(after, " 0 compiled by the driver")) << after.text;

  std::fstream file(finished(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(100);
  file.put('\x55');
  file.close();
  const Output renewed = run_cast("");
  EXPECT_TRUE(contains(renewed, "does not match")) << renewed.text;
  EXPECT_TRUE(contains(renewed, "; making it again")) << renewed.text;
  EXPECT_TRUE(contains(renewed, " 0 compiled by the driver")) << renewed.text;
}

TEST_F(CudaCommandsTest, WhatFinishRefuses) {
  expect_usage("pack --finish " + pack(), "tessera: --finish needs the one --chip that is here");
  const Output cpu = tessera("pack --finish " + pack() + " --chip cpu");
  EXPECT_NE(cpu.exit_code, 0);
  EXPECT_TRUE(contains(cpu, "holds kernels for cuda:sm_90a, none for cpu:")) << cpu.text;
  const Output bad = with_driver("bad-kernel", "pack --finish " + pack() + " --chip cuda");
  EXPECT_NE(bad.exit_code, 0);
  EXPECT_TRUE(contains(bad, "compiling kernel ")) << bad.text;
  EXPECT_TRUE(contains(bad, "ptxas fatal: line 7 is wrong")) << bad.text;
}

}  // namespace
}  // namespace tessera
