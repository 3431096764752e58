// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/crash_note.h"

#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

namespace tessera::ops {
namespace {

TEST(CrashNoteDeathTest, ACrashPrintsWhatIsAlive) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto crash = [] {
    print_notes_on_crash();
    { const CrashNote past("running", "something done"); }
    const CrashNote one("compiling", "rms_norm.rows"), two("running", std::string(1000, 'x'));
    std::raise(SIGSEGV);
  };
  EXPECT_DEATH(crash(), "crashed while:\n  compiling rms_norm.rows\n  running xxx");
}

TEST(CrashNote, ManyAtOnceAreDroppedQuietly) {
  std::vector<std::unique_ptr<CrashNote>> notes;
  for (int i = 0; i < 200; ++i) notes.push_back(std::make_unique<CrashNote>("doing", "it"));
}

}  // namespace
}  // namespace tessera::ops
