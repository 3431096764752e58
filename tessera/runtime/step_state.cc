// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/step_state.h"

#include <fmt/format.h>

#include "tessera/base/check.h"
#include "tessera/runtime/device.h"
#include "tessera/runtime/stream.h"

namespace tessera::runtime {

Result<StepState> StepState::create(Device& device, int words) {
  if (words < 0) return invalid_argument(fmt::format("a step state of {} words", words));
  TESSERA_ASSIGN(auto buffer, device.allocate(static_cast<size_t>(words) * sizeof(int64_t)));
  return StepState(std::move(buffer), words);
}

void StepState::set(int index, int64_t value) {
  TESSERA_CHECK(index >= 0 && index < words(), "word {} of {}", index, words());
  values_[index] = value;
}

int64_t StepState::get(int index) const {
  TESSERA_CHECK(index >= 0 && index < words(), "word {} of {}", index, words());
  return values_[index];
}

Result<void> StepState::upload(Stream& stream) const {
  return stream.copy_to_device(*buffer_, 0, std::as_bytes(std::span(values_)));
}

uint64_t StepState::address(int index) const {
  TESSERA_CHECK(index >= 0 && index < words(), "word {} of {}", index, words());
  return buffer_->address() + static_cast<uint64_t>(index) * sizeof(int64_t);
}

}  // namespace tessera::runtime
