// SPDX-License-Identifier: Apache-2.0
// Device time of what a function queues on a stream.
#pragma once

#include <memory>
#include <utility>

#include "tessera/base/result.h"
#include "tessera/runtime/device.h"

namespace tessera::ops {

class Timer {
 public:
  static Result<Timer> create(runtime::Device& device) {
    Timer timer;
    TESSERA_ASSIGN(timer.stream_, device.create_stream());
    TESSERA_ASSIGN(timer.start_, device.create_event());
    TESSERA_ASSIGN(timer.stop_, device.create_event());
    return timer;
  }

  runtime::Stream& stream() { return *stream_; }

  /// Seconds of queue(stream), which returns Result<void>.
  template <class Queue>
  Result<double> time(const Queue& queue) {
    TESSERA_TRY(stream_->record(*start_));
    TESSERA_TRY(queue(*stream_));
    TESSERA_TRY(stream_->record(*stop_));
    TESSERA_TRY(stream_->synchronize());
    TESSERA_ASSIGN(const double milliseconds, stop_->elapsed_ms_since(*start_));
    return milliseconds / 1e3;
  }

 private:
  Timer() = default;
  std::unique_ptr<runtime::Stream> stream_;
  std::unique_ptr<runtime::Event> start_, stop_;
};

}  // namespace tessera::ops
