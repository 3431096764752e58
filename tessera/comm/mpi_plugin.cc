// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/mpi_plugin.h"

#include <mpi.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>

namespace tessera::comm {
namespace {

MPI_Comm of(void* communicator) { return *static_cast<MPI_Comm*>(communicator); }

int adopt(MPI_Comm made, void** communicator, int* rank, int* size) {
  if (const int code = MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN)) return code;
  if (const int code = MPI_Comm_rank(made, rank)) return code;
  if (const int code = MPI_Comm_size(made, size)) return code;
  *communicator = new MPI_Comm(made);
  return MPI_SUCCESS;
}

int connect(void** world, int* rank, int* size) {
  int provided = 0;
  if (const int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided))
    return code;
  return adopt(MPI_COMM_WORLD, world, rank, size);
}

int split(void* communicator, int color, int key, void** part, int* rank, int* size) {
  MPI_Comm made = MPI_COMM_NULL;
  if (const int code = MPI_Comm_split(of(communicator), color, key, &made)) return code;
  return adopt(made, part, rank, size);
}

void release(void* communicator) {
  const std::unique_ptr<MPI_Comm> owned(static_cast<MPI_Comm*>(communicator));
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized && *owned != MPI_COMM_WORLD) MPI_Comm_free(owned.get());
}

/// Starts an operation on `bytes` bytes whose request `start` fills.
template <class Start>
int begin(size_t bytes, void** request, Start start) {
  if (bytes > INT_MAX) return MPI_ERR_COUNT;
  auto made = std::make_unique<MPI_Request>();
  const int code = start(static_cast<int>(bytes), made.get());
  if (code == MPI_SUCCESS) *request = made.release();
  return code;
}

int all_gather(void* communicator, const void* own, void* parts, size_t bytes, void** request) {
  return begin(bytes, request, [&](int count, MPI_Request* made) {
    return MPI_Iallgather(own, count, MPI_BYTE, parts, count, MPI_BYTE, of(communicator), made);
  });
}

int all_to_all(void* communicator, const void* from, void* to, size_t bytes, void** request) {
  return begin(bytes, request, [&](int count, MPI_Request* made) {
    return MPI_Ialltoall(from, count, MPI_BYTE, to, count, MPI_BYTE, of(communicator), made);
  });
}

int all_to_all_uneven(void* communicator, const void* from, const int* from_counts,
                      const int* from_offsets, void* to, const int* to_counts,
                      const int* to_offsets, void** request) {
  return begin(0, request, [&](int, MPI_Request* made) {
    return MPI_Ialltoallv(from, from_counts, from_offsets, MPI_BYTE, to, to_counts, to_offsets,
                          MPI_BYTE, of(communicator), made);
  });
}

int broadcast(void* communicator, void* data, size_t bytes, int root, void** request) {
  return begin(bytes, request, [&](int count, MPI_Request* made) {
    return MPI_Ibcast(data, count, MPI_BYTE, root, of(communicator), made);
  });
}

int send(void* communicator, const void* data, size_t bytes, int to, void** request) {
  return begin(bytes, request, [&](int count, MPI_Request* made) {
    return MPI_Isend(data, count, MPI_BYTE, to, 0, of(communicator), made);
  });
}

int receive(void* communicator, void* data, size_t bytes, int from, void** request) {
  return begin(bytes, request, [&](int count, MPI_Request* made) {
    return MPI_Irecv(data, count, MPI_BYTE, from, 0, of(communicator), made);
  });
}

int test(void* request, int* done) {
  auto* const pending = static_cast<MPI_Request*>(request);
  const int code = MPI_Test(pending, done, MPI_STATUS_IGNORE);
  if (code != MPI_SUCCESS || *done) delete pending;
  return code;
}

void abort(int exit_code) { MPI_Abort(MPI_COMM_WORLD, exit_code); }

void describe(int code, char* text) {
  char words[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, words, &length);
  std::strncpy(text, words, 255);
  text[255] = '\0';
}

void library(char* text, size_t bytes) {
  char words[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(words, &length);
  std::strncpy(text, words, bytes - 1);
  text[bytes - 1] = '\0';
}

}  // namespace
}  // namespace tessera::comm

extern "C" __attribute__((visibility("default"))) const tessera::comm::MpiPlugin tessera_mpi_plugin;
const tessera::comm::MpiPlugin tessera_mpi_plugin = {
    .version = tessera::comm::MpiPlugin::kVersion,
    .connect = tessera::comm::connect,
    .finalize = [] { return MPI_Finalize(); },
    .abort = tessera::comm::abort,
    .split = tessera::comm::split,
    .release = tessera::comm::release,
    .all_gather = tessera::comm::all_gather,
    .all_to_all = tessera::comm::all_to_all,
    .all_to_all_uneven = tessera::comm::all_to_all_uneven,
    .broadcast = tessera::comm::broadcast,
    .send = tessera::comm::send,
    .receive = tessera::comm::receive,
    .test = tessera::comm::test,
    .describe = tessera::comm::describe,
    .library = tessera::comm::library,
};
