// SPDX-License-Identifier: Apache-2.0
// tessera_cts --device=cpu:avx2 [gtest options]: the conformance suite on one device.
// Exit status 0: passes but for known failures; 1: a failure that is not known, or a stale entry;
// 77: there is no such device here.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <string_view>

#include "tessera/runtime/cts/device_fixture.h"
#include "tessera/runtime/cts/verdict.h"

namespace tessera::runtime::cts {
namespace {

constexpr int kNoDevice = 77;

/// Takes --device=... out of the arguments.
void read_device(int& argc, char** argv) {
  constexpr std::string_view kFlag = "--device=";
  int kept = 0;
  for (int i = 0; i < argc; ++i) {
    if (const std::string_view arg = argv[i]; arg.starts_with(kFlag))
      device_spec() = arg.substr(kFlag.size());
    else
      argv[kept++] = argv[i];
  }
  argc = kept;
}

Verdict collect() {
  Verdict verdict(known_failures());
  const auto& unit = *testing::UnitTest::GetInstance();
  for (int s = 0; s < unit.total_test_suite_count(); ++s) {
    const auto& suite = *unit.GetTestSuite(s);
    for (int t = 0; t < suite.total_test_count(); ++t) {
      const auto& test = *suite.GetTestInfo(t);
      if (!test.should_run() || test.result()->Skipped()) continue;
      verdict.add(std::string(suite.name()) + "." + test.name(), test.result()->Passed());
    }
  }
  return verdict;
}

int run() {
  const std::string& spec = device_spec();
  if (auto chip = find_chip(spec.substr(0, spec.find(':'))); !chip.ok()) {
    fmt::print(stderr, "{}\n", chip.error().to_string());
    return 1;
  }
  auto device = open_device(spec);
  if (!device.ok()) {
    fmt::print(stderr, "{}\n", device.error().to_string());
    const ErrorCode code = device.error().code;
    const bool absent = code == ErrorCode::unsupported || code == ErrorCode::not_found ||
                        code == ErrorCode::unavailable;
    return absent ? kNoDevice : 1;
  }
  fmt::print("device {}: {}\n", (*device)->info().arch, (*device)->info().name);
  const bool passed = RUN_ALL_TESTS() == 0;
  const Verdict verdict = collect();
  for (const std::string& name : verdict.stale())
    fmt::print("stale: {} passes but is listed in known_failures.inc\n", name);
  if (!passed && verdict.ok())
    fmt::print("{} known failure(s), no other\n", verdict.expected_failures());
  return verdict.ok() ? 0 : 1;
}

}  // namespace
}  // namespace tessera::runtime::cts

int main(int argc, char** argv) {
  tessera::runtime::cts::read_device(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  return tessera::runtime::cts::run();
}
