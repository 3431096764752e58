// SPDX-License-Identifier: Apache-2.0
// Ctrl-C as a flag while the object lives; a second one before reset() ends the program.
#pragma once

#include <signal.h>

#include <atomic>

namespace tessera::cli {

/// One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  const std::atomic<bool>* flag() const;
  bool pressed() const { return flag()->load(); }
  void reset();

 private:
  struct sigaction before_ = {};
};

}  // namespace tessera::cli
