// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/crash_note.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace tessera::ops {
namespace {

struct Slot {
  std::atomic<bool> taken{false}, filled{false};
  size_t length = 0;
  char text[240];
};
Slot slots[64];

void append(Slot& slot, std::string_view text) {
  const size_t count = std::min(text.size(), sizeof slot.text - slot.length);
  std::memcpy(slot.text + slot.length, text.data(), count);
  slot.length += count;
}

// Only what is allowed in a signal handler.
void write_text(std::string_view text) { (void)!::write(STDERR_FILENO, text.data(), text.size()); }

void on_crash(int number) {
  static std::atomic_flag first = ATOMIC_FLAG_INIT;
  if (!first.test_and_set()) {
    write_text("\ncrashed while:\n");
    for (Slot& slot : slots)
      if (slot.filled.load(std::memory_order_acquire)) {
        write_text("  ");
        write_text({slot.text, slot.length});
        write_text("\n");
      }
  }
  ::signal(number, SIG_DFL);
  ::raise(number);
}

}  // namespace

CrashNote::CrashNote(std::string_view doing, std::string_view what) : slot_(-1) {
  for (size_t i = 0; i < std::size(slots); ++i) {
    if (slots[i].taken.exchange(true)) continue;
    slot_ = static_cast<int>(i);
    Slot& slot = slots[i];
    slot.length = 0;
    append(slot, doing);
    append(slot, " ");
    append(slot, what);
    slot.filled.store(true, std::memory_order_release);
    return;
  }
}

CrashNote::~CrashNote() {
  if (slot_ < 0) return;
  slots[slot_].filled.store(false);
  slots[slot_].taken.store(false);
}

void print_notes_on_crash() {
  struct sigaction action{};
  action.sa_handler = on_crash;
  action.sa_flags = SA_NODEFER;
  for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
    ::sigaction(number, &action, nullptr);
}

}  // namespace tessera::ops
