// SPDX-License-Identifier: Apache-2.0
// The functions of the shared module libtessera_mpi.so, the only thing that is linked with MPI: the
// programs open it when a job is started by mpirun, so they run where there is no MPI, and another
// MPI (their ABIs differ) means another build of this one small file. Plain C types throughout.
//
// Functions return 0 or an MPI error code. Those with `request` start work that test() completes,
// so that how long and how gently to wait is decided outside.
#pragma once

#include <cstddef>

namespace tessera::comm {

struct MpiPlugin {
  static constexpr int kVersion = 2;
  static constexpr const char* kSymbol = "tessera_mpi_plugin";

  int version;
  /// Joins the job. `world` is the communicator of all its ranks.
  int (*connect)(void** world, int* rank, int* size);
  /// Ends MPI; every rank must call it.
  int (*finalize)();
  /// Ends the processes of all ranks.
  void (*abort)(int exit_code);
  int (*split)(void* communicator, int color, int key, void** part, int* rank, int* size);
  void (*release)(void* communicator);

  int (*all_gather)(void* communicator, const void* own, void* parts, size_t bytes, void** request);
  int (*all_to_all)(void* communicator, const void* from, void* to, size_t bytes, void** request);
  /// Counts and offsets in bytes, of every rank; they stay until the request is done.
  int (*all_to_all_uneven)(void* communicator, const void* from, const int* from_counts,
                           const int* from_offsets, void* to, const int* to_counts,
                           const int* to_offsets, void** request);
  int (*broadcast)(void* communicator, void* data, size_t bytes, int root, void** request);
  int (*send)(void* communicator, const void* data, size_t bytes, int to, void** request);
  int (*receive)(void* communicator, void* data, size_t bytes, int from, void** request);
  /// Sets `done`; a request that is done is gone.
  int (*test)(void* request, int* done);

  /// What a code means, into 256 bytes.
  void (*describe)(int code, char* text);
  /// "Open MPI v4.1.4, .."
  void (*library)(char* text, size_t bytes);
};

}  // namespace tessera::comm
