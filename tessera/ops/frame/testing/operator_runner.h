// SPDX-License-Identifier: Apache-2.0
// Operators called one after the other on buffers of a device, for tests of several together.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/kernels/kernel_library.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/device.h"

namespace tessera::ops::testing {

class OperatorRunner {
 public:
  using Tensor = std::shared_ptr<runtime::Buffer>;

  OperatorRunner(std::string_view device, std::shared_ptr<kernels::Provider> provider)
      : device_(std::move(runtime::open_device(device)).value()),
        library_(*device_, {.provider = std::move(provider)}),
        stream_(std::move(device_->create_stream()).value()) {}

  template <class T>
  Tensor upload(const std::vector<T>& data) {
    Tensor tensor = std::move(device_->allocate(data.size() * sizeof(T))).value();
    EXPECT_TRUE(stream_->copy_to_device(*tensor, 0, std::as_bytes(std::span(data))).ok());
    EXPECT_TRUE(stream_->synchronize().ok());
    return tensor;
  }
  template <class T>
  std::vector<T> download(const Tensor& tensor) {
    std::vector<T> data(tensor->size() / sizeof(T));
    EXPECT_TRUE(stream_->copy_to_host(std::as_writable_bytes(std::span(data)), *tensor, 0).ok());
    EXPECT_TRUE(stream_->synchronize().ok());
    return data;
  }

  /// `tensors` in signature order, null for one that is left out.
  template <class Op>
  void run(std::map<std::string, int64_t> dims, std::map<std::string, DType> dtypes,
           std::map<std::string, double> attributes, const std::vector<Tensor>& tensors) {
    static const Operator op = make_operator<Op>();
    const auto problem = Problem::from_dims(*op.signature, std::move(dims), std::move(dtypes),
                                            std::move(attributes));
    ASSERT_TRUE(problem.ok()) << problem.error().message;
    const auto prepared = PreparedOp::prepare(library_, op, *problem);
    ASSERT_TRUE(prepared.ok()) << prepared.error().message;
    std::vector<uint64_t> addresses;
    for (const Tensor& tensor : tensors) addresses.push_back(tensor ? tensor->address() : 0);
    const auto workspace =
        std::move(device_->allocate(static_cast<size_t>(prepared->workspace_bytes()))).value();
    ASSERT_TRUE(prepared->run(*stream_, addresses, workspace ? workspace->address() : 0).ok());
    ASSERT_TRUE(stream_->synchronize().ok());
  }

 private:
  std::unique_ptr<runtime::Device> device_;
  kernels::KernelLibrary library_;
  std::unique_ptr<runtime::Stream> stream_;
};

}  // namespace tessera::ops::testing
