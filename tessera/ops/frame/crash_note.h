// SPDX-License-Identifier: Apache-2.0
// When generated code faults or a compiler library aborts, the process ends; these notes say what
// it was doing. A note lives from construction to destruction; a crash prints all notes alive.
#pragma once

#include <string_view>

namespace tessera::ops {

class CrashNote {
 public:
  /// Copies what fits. Beyond a few dozen notes at once, new ones are dropped.
  CrashNote(std::string_view doing, std::string_view what);
  ~CrashNote();
  CrashNote(const CrashNote&) = delete;
  CrashNote& operator=(const CrashNote&) = delete;

 private:
  int slot_;
};

/// From now on SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT print the notes before they end the
/// process.
void print_notes_on_crash();

}  // namespace tessera::ops
