// SPDX-License-Identifier: Apache-2.0
// For the tests of this folder: traces a kernel and launches it on tensors held in vectors.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tessera/chips/null/device.h"
#include "tessera/lang/kernel_builder.h"

namespace tessera::chips::null {

class TestLaunch {
 public:
  TestLaunch() : device_({}), stream_(device_.create_stream().value()) {}

  /// The next view argument: dense, row-major. `Element` is the storage of the dtype.
  template <class Element>
  size_t tensor(std::vector<int64_t> shape, const std::vector<Element>& data) {
    auto buffer = device_.allocate(data.size() * sizeof(Element)).value();
    stream_->copy_to_device(*buffer, 0, std::as_bytes(std::span(data))).value();
    slots_.push_back(buffer->address());
    for (int64_t extent : shape) slots_.push_back(static_cast<uint64_t>(extent));
    int64_t stride = 1;
    std::vector<uint64_t> strides;
    for (size_t d = shape.size(); d-- > 1;)
      strides.insert(strides.begin(), static_cast<uint64_t>(stride *= shape[d]));
    slots_.insert(slots_.end(), strides.begin(), strides.end());
    buffers_.push_back(std::move(buffer));
    return buffers_.size() - 1;
  }
  void scalar(uint64_t bits) { slots_.push_back(bits); }
  std::vector<uint64_t>& slots() { return slots_; }

  Result<void> launch(const std::function<void(lang::KernelBuilder&)>& body,
                      runtime::Grid grid = {}) {
    TESSERA_ASSIGN(const lang::Trace trace, lang::trace_kernel("test.kernel", body));
    runtime::KernelImage image;
    image.format = kTraceFormat;
    image.entry = trace.name;
    image.code = trace.serialize(lang::Trace::Lines::kKeep);
    image.slot_count = trace.slot_count;
    TESSERA_ASSIGN(auto kernel, device_.load(image));
    TESSERA_TRY(stream_->launch(*kernel, grid, slots_));
    return stream_->synchronize();
  }

  template <class Element>
  std::vector<Element> read(size_t tensor) {
    const runtime::Buffer& buffer = *buffers_[tensor];
    std::vector<Element> data(buffer.size() / sizeof(Element));
    std::memcpy(data.data(), buffer.host_data(), buffer.size());
    return data;
  }

  NullDevice& device() { return device_; }
  runtime::Stream& stream() { return *stream_; }

 private:
  NullDevice device_;
  std::unique_ptr<runtime::Stream> stream_;
  std::vector<std::unique_ptr<runtime::Buffer>> buffers_;
  std::vector<uint64_t> slots_;
};

/// The text of a failed launch.
inline std::string error_of(const Result<void>& result) {
  return result.ok() ? "" : result.error().message;
}

}  // namespace tessera::chips::null
