// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/mpi_job.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sched.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "tessera/base/cpu_topology.h"
#include "tessera/comm/host_communicator.h"

namespace tessera::comm {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kModule = "libtessera_mpi.so";

/// Waits ever more gently: another rank may need this core.
class Pause {
 public:
  void next() {
    ++turns_;
    static const bool crowded = MpiJob::local_ranks() > CpuTopology::get().usable_cores();
    if (turns_ < (crowded ? 4 : 2000)) {
      sched_yield();
      return;
    }
    const int64_t most = crowded ? 2000 : 500;
    std::this_thread::sleep_for(std::chrono::microseconds(std::min<int64_t>(turns_ * 20, most)));
  }

 private:
  int64_t turns_ = 0;
};

/// Consecutive parts as MPI counts them.
struct Parts {
  explicit Parts(std::span<const size_t> bytes) {
    int offset = 0;
    for (const size_t part : bytes) {
      counts.push_back(static_cast<int>(part));
      offsets.push_back(offset);
      offset += static_cast<int>(part);
    }
  }
  std::vector<int> counts, offsets;
};

class MpiCommunicator final : public HostCommunicator {
 public:
  MpiCommunicator(const MpiPlugin& plugin, void* handle, int rank, int size,
                  std::chrono::milliseconds patience)
      : HostCommunicator(rank, size, patience), plugin_(plugin), handle_(handle) {}
  ~MpiCommunicator() override { plugin_.release(handle_); }

  std::string_view name() const override { return "mpi"; }

  Result<std::unique_ptr<Communicator>> split(int color, int key) override {
    void* part = nullptr;
    int rank = 0, size = 0;
    TESSERA_TRY(check("split", plugin_.split(handle_, color, key, &part, &rank, &size)));
    return std::unique_ptr<Communicator>(
        std::make_unique<MpiCommunicator>(plugin_, part, rank, size, patience()));
  }

 private:
  Result<> check(const char* what, int code) const {
    if (code == 0) [[likely]]
      return {};
    char words[256] = {};
    plugin_.describe(code, words);
    return make_error(ErrorCode::unavailable, fmt::format("{}: {}", what, words));
  }
  Result<> finish(const char* what, int code, void* request) const {
    TESSERA_TRY(check(what, code));
    const auto start = Clock::now();
    Pause pause;
    for (int done = 0;;) {
      TESSERA_TRY(check(what, plugin_.test(request, &done)));
      if (done) return {};
      if (Clock::now() - start > patience())
        return make_error(ErrorCode::deadline,
                          fmt::format("{}: another rank did not come within {:.1f} s", what,
                                      std::chrono::duration<double>(patience()).count()));
      pause.next();
    }
  }

  Result<> exchange(std::span<const std::byte> from, std::span<std::byte> to) override {
    void* request = nullptr;
    const size_t part = from.size() / static_cast<size_t>(size());
    const int code = plugin_.all_to_all(handle_, from.data(), to.data(), part, &request);
    return finish("all_to_all", code, request);
  }
  Result<> exchange_uneven(std::span<const std::byte> from, std::span<const size_t> from_bytes,
                           std::span<std::byte> to, std::span<const size_t> to_bytes) override {
    if (from.size() > INT_MAX || to.size() > INT_MAX)
      return invalid_argument(fmt::format("all_to_all: {} and {} bytes; MPI takes {} at once",
                                          from.size(), to.size(), INT_MAX));
    const Parts outgoing(from_bytes), incoming(to_bytes);
    void* request = nullptr;
    const int code = plugin_.all_to_all_uneven(
        handle_, from.data(), outgoing.counts.data(), outgoing.offsets.data(), to.data(),
        incoming.counts.data(), incoming.offsets.data(), &request);
    return finish("all_to_all", code, request);
  }
  Result<> host_all_gather(std::span<const std::byte> own, std::span<std::byte> parts) override {
    void* request = nullptr;
    const int code = plugin_.all_gather(handle_, own.data(), parts.data(), own.size(), &request);
    return finish("all_gather", code, request);
  }
  Result<> host_broadcast(std::span<std::byte> data, int root) override {
    void* request = nullptr;
    const int code = plugin_.broadcast(handle_, data.data(), data.size(), root, &request);
    return finish("broadcast", code, request);
  }
  Result<> host_send(std::span<const std::byte> data, int to) override {
    void* request = nullptr;
    const int code = plugin_.send(handle_, data.data(), data.size(), to, &request);
    return finish("send", code, request);
  }
  Result<> host_receive(std::span<std::byte> data, int from) override {
    void* request = nullptr;
    const int code = plugin_.receive(handle_, data.data(), data.size(), from, &request);
    return finish("receive", code, request);
  }

  const MpiPlugin& plugin_;
  void* const handle_;
};

/// Beside the program, in ../lib of it, or where the system looks.
Result<const MpiPlugin*> open_plugin() {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  void* library = nullptr;
  for (const fs::path& path : {program / kModule, program / "../lib" / kModule,
                               program / "../../lib" / kModule, fs::path(kModule)}) {
    // Global: Open MPI opens its own components, which look for its symbols there.
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library) break;
    if (fs::exists(path, ignored)) {
      const char* const why = dlerror();
      return make_error(ErrorCode::unavailable, fmt::format("{} cannot be opened: {}",
                                                            path.lexically_normal().string(), why));
    }
  }
  if (!library)
    return make_error(ErrorCode::unavailable,
                      fmt::format("this program was built without MPI: there is no {}", kModule));
  const auto* const plugin = static_cast<const MpiPlugin*>(dlsym(library, MpiPlugin::kSymbol));
  if (!plugin || plugin->version != MpiPlugin::kVersion)
    return make_error(ErrorCode::unavailable,
                      fmt::format("{} is of another version of this program", kModule));
  return plugin;
}

int number_of(const char* variable, int fallback) {
  const char* const text = std::getenv(variable);
  return text ? std::atoi(text) : fallback;
}

}  // namespace

bool MpiJob::is_here() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

int MpiJob::local_ranks() {
  return std::max(1,
                  number_of("OMPI_COMM_WORLD_LOCAL_SIZE", number_of("SLURM_NTASKS_PER_NODE", 1)));
}

Result<std::unique_ptr<MpiJob>> MpiJob::join(std::chrono::milliseconds patience) {
  TESSERA_ASSIGN(const MpiPlugin* const plugin, open_plugin());
  void* world = nullptr;
  int rank = 0, size = 0;
  if (const int code = plugin->connect(&world, &rank, &size)) {
    char words[256] = {};
    plugin->describe(code, words);
    return make_error(ErrorCode::unavailable, fmt::format("MPI does not start: {}", words));
  }
  return std::unique_ptr<MpiJob>(
      new MpiJob(*plugin, std::make_unique<MpiCommunicator>(*plugin, world, rank, size, patience)));
}

MpiJob::~MpiJob() {
  world_.reset();
  plugin_.finalize();
}

void MpiJob::end(int exit_code) {
  plugin_.abort(exit_code);
  std::_Exit(exit_code);
}

std::string MpiJob::library() const {
  char words[256] = {};
  plugin_.library(words, sizeof words);
  const std::string text = words;
  return text.substr(0, text.find(','));
}

}  // namespace tessera::comm
