// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/cts/job_fixture.h"

#include <thread>

#include "tessera/comm/nccl_communicator.h"
#include "tessera/comm/self_communicator.h"
#include "tessera/comm/thread_communicator.h"

namespace tessera::comm::cts {
namespace {

Communicator* g_world = nullptr;

void run_rank(Communicator& comm, const std::function<void(const Rank&)>& body) {
  const auto device = runtime::open_device(device_of(comm.rank()), {.threads = 1});
  ASSERT_TRUE(device.ok()) << device.error().to_string();
  const auto stream = (*device)->create_stream();
  ASSERT_TRUE(stream.ok()) << stream.error().to_string();
  if (options().backend != "nccl") return body({comm, **device, **stream});
  const auto library = NcclLibrary::open(options().nccl);
  ASSERT_TRUE(library.ok()) << library.error().to_string();
  const auto nccl = connect_nccl(*library, comm);
  ASSERT_TRUE(nccl.ok()) << nccl.error().to_string();
  body({**nccl, **device, **stream});
}

}  // namespace

Options& options() {
  static Options all;
  return all;
}

std::string device_of(int rank) {
  std::string name = options().device;
  const size_t at = name.find('%');
  return at == std::string::npos ? name : name.replace(at, 1, std::to_string(rank));
}

void set_world(Communicator* world) { g_world = world; }

std::unique_ptr<runtime::Buffer> Rank::upload(std::span<const std::byte> bytes) const {
  auto buffer = device.allocate(bytes.size()).value();
  stream.copy_to_device(*buffer, 0, bytes).value();
  stream.synchronize().value();
  return buffer;
}

std::vector<std::byte> Rank::download(const runtime::Buffer& buffer) const {
  std::vector<std::byte> bytes(buffer.size());
  stream.copy_to_host(bytes, buffer, 0).value();
  stream.synchronize().value();
  return bytes;
}

void JobTest::on_all_ranks(const std::function<void(const Rank&)>& body) {
  if (g_world) return run_rank(*g_world, body);
  std::vector<std::unique_ptr<Communicator>> ranks;
  if (options().backend == "self")
    ranks.push_back(make_self());
  else
    ranks = make_threads(options().ranks, std::chrono::seconds(20));
  std::vector<std::thread> threads;
  for (const auto& rank : ranks)
    threads.emplace_back([&body, comm = rank.get()] { run_rank(*comm, body); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tessera::comm::cts
