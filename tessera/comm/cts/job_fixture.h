// SPDX-License-Identifier: Apache-2.0
// Base of the conformance tests of communicators: runs a function on every rank of a job of the
// back end under test. Ranks are threads of this process, or (mpi) this process is one of them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/base/testing/expect_result.h"
#include "tessera/comm/communicator.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/device.h"

namespace tessera::comm::cts {

struct Options {
  std::string backend = "threads";  // self, threads, mpi or nccl
  std::string device = "cpu";       // cuda:%: a device for each rank, by its number
  std::string nccl;                 // the library's file
  int ranks = 3;                    // of self 1, of mpi what mpirun says
};
Options& options();
std::string device_of(int rank);
/// Of the whole process with mpi, set by main.
void set_world(Communicator* world);

/// A rank with a device of its own.
struct Rank {
  Communicator& comm;
  runtime::Device& device;
  runtime::Stream& stream;

  int number() const { return comm.rank(); }
  int count() const { return comm.size(); }
  std::unique_ptr<runtime::Buffer> upload(std::span<const std::byte> bytes) const;
  std::vector<std::byte> download(const runtime::Buffer& buffer) const;

  template <class T>
  std::unique_ptr<runtime::Buffer> numbers(const std::vector<T>& values) const {
    return upload(std::as_bytes(std::span(values)));
  }
  template <class T>
  std::vector<T> numbers(const runtime::Buffer& buffer) const {
    const std::vector<std::byte> bytes = download(buffer);
    const auto* first = reinterpret_cast<const T*>(bytes.data());
    return {first, first + bytes.size() / sizeof(T)};
  }
};

inline Region all_of(runtime::Buffer& buffer) { return {&buffer, 0, buffer.size()}; }

class JobTest : public testing::Test {
 protected:
  static void on_all_ranks(const std::function<void(const Rank&)>& body);
};

}  // namespace tessera::comm::cts
