// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/interrupt.h"

#include <unistd.h>

namespace tessera::cli {
namespace {

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free);  // it is set in a signal handler

void handle(int) {
  if (interrupted.exchange(true)) ::_exit(128 + SIGINT);
}

}  // namespace

Interrupt::Interrupt() {
  reset();
  struct sigaction action = {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, &before_);
}

Interrupt::~Interrupt() { ::sigaction(SIGINT, &before_, nullptr); }

const std::atomic<bool>* Interrupt::flag() const { return &interrupted; }

void Interrupt::reset() { interrupted = false; }

}  // namespace tessera::cli
