// SPDX-License-Identifier: Apache-2.0
// A job of processes started by mpirun (Open MPI).
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "tessera/comm/communicator.h"
#include "tessera/comm/mpi_plugin.h"

namespace tessera::comm {

class MpiJob {
 public:
  /// Whether mpirun (or srun, by PMIx) started this process.
  static bool is_here();
  /// Ranks of the job on this machine, as the launcher says; 1 outside of one.
  static int local_ranks();

  /// Once a process. `patience`: how long a rank may keep the others waiting. Errors: `unavailable`
  /// where the module or MPI is missing.
  static Result<std::unique_ptr<MpiJob>> join(std::chrono::milliseconds patience);
  /// Leaves the job; every rank must get here, unless end() is called.
  ~MpiJob();
  MpiJob(const MpiJob&) = delete;
  MpiJob& operator=(const MpiJob&) = delete;

  Communicator& world() const { return *world_; }
  /// Ends the processes of all ranks, this one too.
  [[noreturn]] void end(int exit_code);
  /// "Open MPI v4.1.4"
  std::string library() const;

 private:
  MpiJob(const MpiPlugin& plugin, std::unique_ptr<Communicator> world)
      : plugin_(plugin), world_(std::move(world)) {}

  const MpiPlugin& plugin_;
  std::unique_ptr<Communicator> world_;
};

}  // namespace tessera::comm
