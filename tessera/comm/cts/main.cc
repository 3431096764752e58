// SPDX-License-Identifier: Apache-2.0
// tessera_comm_cts --backend=threads --ranks=4 --device=cpu [gtest options]: what every back end of
// communicators passes. With mpi: mpirun -n 4 tessera_comm_cts --backend=mpi. Exit status 77: there
// is no such device or library here.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "tessera/comm/cts/job_fixture.h"
#include "tessera/comm/mpi_job.h"
#include "tessera/comm/nccl_library.h"

namespace tessera::comm::cts {
namespace {

constexpr int kAbsent = 77;

void read_options(int& argc, char** argv) {
  int kept = 0;
  const auto take = [](std::string_view arg, std::string_view flag, std::string& to) {
    if (!arg.starts_with(flag)) return false;
    to = arg.substr(flag.size());
    return true;
  };
  std::string ranks;
  for (int i = 0; i < argc; ++i)
    if (!take(argv[i], "--backend=", options().backend) &&
        !take(argv[i], "--device=", options().device) &&
        !take(argv[i], "--nccl=", options().nccl) && !take(argv[i], "--ranks=", ranks))
      argv[kept++] = argv[i];
  argc = kept;
  if (!ranks.empty()) options().ranks = std::atoi(ranks.c_str());
}

int absent(const Error& error) {
  fmt::print(stderr, "{}\n", error.to_string());
  return kAbsent;
}

int run() {
  if (const auto device = runtime::open_device(device_of(0)); !device.ok())
    return absent(device.error());
  if (options().backend == "nccl")
    if (const auto library = NcclLibrary::open(options().nccl); !library.ok())
      return absent(library.error());
  if (options().backend != "mpi") return RUN_ALL_TESTS();
  const auto job = MpiJob::join(std::chrono::seconds(20));
  if (!job.ok()) return absent(job.error());
  if (!MpiJob::is_here() || (*job)->world().size() == 1) fmt::print("a single rank\n");
  set_world(&(*job)->world());
  const int status = RUN_ALL_TESTS();
  if (status != 0) (*job)->end(status);
  return status;
}

}  // namespace
}  // namespace tessera::comm::cts

int main(int argc, char** argv) {
  tessera::comm::cts::read_options(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  return tessera::comm::cts::run();
}
