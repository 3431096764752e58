// SPDX-License-Identifier: Apache-2.0
#include "tessera/kernels/kernel_library.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "tessera/base/build_id.h"
#include "tessera/base/testing/temporary_folder.h"
#include "tessera/kernels/testing/sample_kernels.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::kernels {
namespace {

using testing::scale_trace;

class KernelLibraryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto device = runtime::open_device("null");
    ASSERT_TRUE(device.ok());
    device_ = std::move(*device);
  }

  KernelLibrary library(LibraryOptions options = {}) {
    options.provider = provider_;
    return KernelLibrary(*device_, std::move(options));
  }
  std::shared_ptr<const Pack> pack_of(std::span<const lang::Trace> traces) {
    PackWriter writer("test-1");
    for (const lang::Trace& trace : traces)
      writer.add(device_->info().arch, trace.hash(), trace.name, testing::image_of(trace));
    EXPECT_TRUE(writer.write(pack_file_).ok());
    return Pack::open(pack_file_).value();
  }

  TemporaryFolder folder_;
  std::filesystem::path pack_file_ = folder_ / "a.pack";
  std::unique_ptr<runtime::Device> device_;
  std::shared_ptr<testing::TraceProvider> provider_ = std::make_shared<testing::TraceProvider>();
};

TEST_F(KernelLibraryTest, CompilesLoadsAndRuns) {
  KernelLibrary all = library();
  const lang::Trace trace = scale_trace(3);
  const auto kernel = all.get(trace);
  ASSERT_TRUE(kernel.ok());
  auto x = device_->allocate(20 * sizeof(float)).value(),
       y = device_->allocate(20 * sizeof(float)).value();
  auto stream = device_->create_stream().value();
  std::array<float, 20> numbers;
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  ASSERT_TRUE(stream->copy_to_device(*x, 0, std::as_bytes(std::span(numbers))).ok());
  const std::array<uint64_t, 4> slots = {x->address(), 20, y->address(), 20};
  ASSERT_TRUE(stream->launch(**kernel, {2}, slots).ok());
  ASSERT_TRUE(stream->copy_to_host(std::as_writable_bytes(std::span(numbers)), *y, 0).ok());
  ASSERT_TRUE(stream->synchronize().ok());
  EXPECT_EQ(numbers[19], 57);
}

TEST_F(KernelLibraryTest, CompilesOnceHoweverManyThreadsAsk) {
  provider_->delay = std::chrono::milliseconds(20);
  KernelLibrary all = library();
  const lang::Trace trace = scale_trace(2);
  std::vector<std::thread> threads;
  std::array<runtime::Executable*, 8> got{};
  for (size_t i = 0; i < got.size(); ++i)
    threads.emplace_back([&, i] { got[i] = all.get(trace).value().get(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(provider_->calls, 1);
  EXPECT_EQ(all.stats().compiled, 1);
  EXPECT_GE(all.stats().compile_microseconds, 20000);
  for (runtime::Executable* executable : got) EXPECT_EQ(executable, got[0]);
}

TEST_F(KernelLibraryTest, GetAllKeepsTheOrderAndCompilesInParallel) {
  provider_->delay = std::chrono::milliseconds(30);
  KernelLibrary all = library({.compile_threads = 8});
  std::vector<lang::Trace> traces;
  for (int i = 0; i < 8; ++i) traces.push_back(scale_trace(i));
  traces.push_back(scale_trace(0));
  const auto start = std::chrono::steady_clock::now();
  const auto kernels = all.get_all(traces);
  const auto elapsed = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(kernels.ok());
  EXPECT_EQ(provider_->calls, 8);
  EXPECT_LT(elapsed, std::chrono::milliseconds(8 * 30));
  EXPECT_EQ((*kernels)[0], (*kernels)[8]);
  for (size_t i = 0; i < traces.size(); ++i) EXPECT_EQ((*kernels)[i], *all.get(traces[i]));
}

TEST_F(KernelLibraryTest, GetAllFetchesTheRestDespiteAFailure) {
  provider_->failing = "test.bad";
  KernelLibrary all = library();
  const std::vector<lang::Trace> traces = {scale_trace(1, "test.bad"), scale_trace(2)};
  const auto kernels = all.get_all(traces);
  ASSERT_FALSE(kernels.ok());
  EXPECT_EQ(kernels.error().message, "the compiler gave up");
  EXPECT_EQ(kernels.error().context, std::vector<std::string>{"kernel test.bad"});
  EXPECT_TRUE(all.get(traces[1]).ok());
  EXPECT_FALSE(all.get(traces[0]).ok());
  EXPECT_EQ(provider_->calls, 2) << "a failed kernel is not compiled again";
}

TEST_F(KernelLibraryTest, ListsASubjectsKernelsOnceWhileTheCacheHasThem) {
  if (build_id().empty()) GTEST_SKIP() << "this program was linked without a build id";
  const auto cache = std::make_shared<DiskCache>(folder_ / "cache");
  int listed = 0;
  const auto list = [&]() -> Result<std::vector<lang::Trace>> {
    ++listed;
    return std::vector{scale_trace(1), scale_trace(2)};
  };
  const auto provide = [&](std::string_view subject) {
    KernelLibrary all = library({.cache = cache});
    EXPECT_TRUE(all.provide(hash128(subject), list).ok());
    return all.stats().compiled.load();
  };
  EXPECT_EQ(provide("a"), 2);
  EXPECT_EQ(provide("a"), 0);
  EXPECT_EQ(listed, 1);
  EXPECT_EQ(provide("b"), 0);
  EXPECT_EQ(listed, 2);
  std::filesystem::remove(cache->path_of(
      DiskCache::key(scale_trace(2), provider_->identity(device_->info().arch).value())));
  EXPECT_EQ(provide("a"), 1);
  EXPECT_EQ(listed, 3);
}

TEST_F(KernelLibraryTest, TakesFromThePackFirst) {
  const std::vector<lang::Trace> traces = {scale_trace(1), scale_trace(2)};
  KernelLibrary all = library({.packs = {pack_of(std::span(traces).first(1))}});
  ASSERT_TRUE(all.get_all(traces).ok());
  EXPECT_EQ(all.stats().from_pack, 1);
  EXPECT_EQ(all.stats().compiled, 1);
}

TEST_F(KernelLibraryTest, TakesFromTheDiskCacheOfAnEarlierRun) {
  const lang::Trace trace = scale_trace(2);
  for (int run = 0; run < 2; ++run) {
    KernelLibrary all = library({.cache = std::make_shared<DiskCache>(folder_.path())});
    ASSERT_TRUE(all.get(trace).ok());
    EXPECT_EQ(all.stats().from_cache, run);
  }
  EXPECT_EQ(provider_->calls, 1);
  provider_->version_ = "test-2";
  KernelLibrary newer = library({.cache = std::make_shared<DiskCache>(folder_.path())});
  ASSERT_TRUE(newer.get(trace).ok());
  EXPECT_EQ(provider_->calls, 2) << "another compiler version does not reuse images";
}

TEST_F(KernelLibraryTest, KeepsNothingThatTheProviderCannotIdentify) {
  provider_->is_identified = false;
  for (int run = 1; run <= 2; ++run) {
    KernelLibrary all = library({.cache = std::make_shared<DiskCache>(folder_ / "empty")});
    ASSERT_TRUE(all.get(scale_trace(2)).ok());
    EXPECT_EQ(provider_->calls, run);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "empty"));
}

TEST_F(KernelLibraryTest, ProvidesWhatIsMissing) {
  const std::vector<lang::Trace> traces = {scale_trace(1), scale_trace(2), scale_trace(3)};
  const auto cache = std::make_shared<DiskCache>(folder_ / "cache");
  std::vector<std::pair<size_t, size_t>> calls;
  const auto progress = [&](size_t done, size_t total) { calls.emplace_back(done, total); };
  {
    KernelLibrary first = library({.cache = cache});
    ASSERT_TRUE(first.get(traces[1]).ok());
  }
  const auto pack = pack_of(std::span(traces).first(1));
  KernelLibrary all = library({.packs = {pack}, .cache = cache});
  ASSERT_TRUE(all.provide(traces, progress).ok());
  EXPECT_EQ(calls, (std::vector<std::pair<size_t, size_t>>{{1, 1}}));
  EXPECT_EQ(provider_->calls, 2) << "the third; the second was in the cache";
  EXPECT_EQ(all.stats().from_pack + all.stats().from_cache, 0)
      << "nothing is loaded before its use";
  KernelLibrary again = library({.packs = {pack}, .cache = cache});
  ASSERT_TRUE(again.provide(traces, progress).ok());
  EXPECT_EQ(calls.size(), 1u);
  ASSERT_TRUE(again.get_all(traces).ok());
  EXPECT_EQ(provider_->calls, 2);
}

TEST_F(KernelLibraryTest, WhatCannotBeProvidedIsCounted) {
  const std::vector<lang::Trace> traces = {scale_trace(1), scale_trace(2, "test.other"),
                                           scale_trace(3)};
  KernelLibrary none(*device_, {.packs = {pack_of(std::span(traces).first(1))}});
  const auto provided = none.provide(traces);
  ASSERT_FALSE(provided.ok());
  EXPECT_EQ(provided.error().code, ErrorCode::not_found);
  EXPECT_EQ(provided.error().message,
            "2 of 3 kernels for null:trace are not in 1 pack(s), the first " + pack_file_.string() +
                ", and this program has no compiler; the first is test.other");
  provider_->failing = "test.other";
  KernelLibrary all = library();
  EXPECT_EQ(all.provide(traces).error().message, "the compiler gave up");
}

TEST_F(KernelLibraryTest, CompilesAnewWhenACachedImageCannotBeLoaded) {
  const lang::Trace trace = scale_trace(2);
  auto cache = std::make_shared<DiskCache>(folder_.path());
  runtime::KernelImage foreign = testing::image_of(trace);
  foreign.format = "elf.other";
  cache->store(DiskCache::key(trace, device_->info().arch + " test-1"), foreign);
  KernelLibrary all = library({.cache = cache});
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(all.get(trace).ok());
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("cannot be loaded"), std::string::npos);
  EXPECT_EQ(all.stats().compiled, 1);
}

TEST_F(KernelLibraryTest, WithoutCompilerSaysWhatIsMissing) {
  KernelLibrary none(*device_, {});
  const auto kernel = none.get(scale_trace(2));
  ASSERT_FALSE(kernel.ok());
  EXPECT_EQ(kernel.error().code, ErrorCode::not_found);
  const std::string expected =
      "no kernel test.scale (" + scale_trace(2).hash().hex() +
      ") for null:trace in a pack: none was given, and this program has no compiler; make "
      "a pack that holds it with `tessera pack --chip null:trace`";
  EXPECT_EQ(kernel.error().message, expected);
}

TEST_F(KernelLibraryTest, ADamagedPackIsAnErrorEvenWithACompiler) {
  const std::vector<lang::Trace> traces = {scale_trace(1)};
  const auto pack = pack_of(traces);
  std::string bytes = read_file(pack_file_);
  bytes[pack->entries()[0].offset + 30] ^= 1;
  write_file(pack_file_, bytes);
  KernelLibrary all = library({.packs = {Pack::open(pack_file_).value()}});
  const auto kernel = all.get(traces[0]);
  ASSERT_FALSE(kernel.ok());
  EXPECT_EQ(kernel.error().code, ErrorCode::corrupt);
  EXPECT_NE(kernel.error().message.find(pack_file_.string()), std::string::npos);
}

// As processes do: each has a library of its own, and they share a folder.
TEST_F(KernelLibraryTest, OfSeveralThatShareACacheOneCompiles) {
  const auto folder = std::filesystem::path(folder_ / "shared");
  std::vector<lang::Trace> traces;
  for (int i = 1; i <= 20; ++i) traces.push_back(scale_trace(static_cast<float>(i)));
  std::vector<std::thread> threads;
  std::atomic<int64_t> compiled{0}, cached{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      KernelLibrary one = library({.cache = std::make_shared<DiskCache>(folder)});
      for (const lang::Trace& trace : traces) EXPECT_TRUE(one.get(trace).ok());
      compiled += one.stats().compiled;
      cached += one.stats().from_cache;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(compiled, 20);
  EXPECT_EQ(cached, 60);
}

}  // namespace
}  // namespace tessera::kernels
