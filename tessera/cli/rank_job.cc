// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/rank_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <thread>

#include "tessera/base/cpu_topology.h"
#include "tessera/base/hash.h"
#include "tessera/base/log.h"
#include "tessera/base/mapped_file.h"
#include "tessera/cli/version.h"  // generated
#include "tessera/comm/agreement.h"

namespace tessera::cli {
namespace {

namespace deepseek = model::deepseek_v4;

bool g_is_silent = false;

/// Version and content of the program's file.
std::string program_text() {
  const auto file = MappedFile::open("/proc/self/exe");
  return fmt::format("{} ({})", kVersion,
                     file.ok() ? hash128(file->bytes()).hex().substr(0, 8) : "unreadable");
}

/// What every rank has of a checkpoint: headers and a little content of files that do not hold
/// experts alone.
std::string checkpoint_text(const checkpoint::Checkpoint& checkpoint) {
  constexpr size_t kSample = 4096;
  Hasher hasher;
  std::set<int> common;
  for (const auto& tensor : checkpoint.tensors()) {
    if (deepseek::is_of_experts(tensor.name)) continue;
    hasher.add(tensor.name).add(tensor.data.size());
    common.insert(tensor.shard);
  }
  for (const int number : common) {
    const auto& shard = checkpoint.shards()[static_cast<size_t>(number)];
    const std::span<const std::byte> bytes = shard.file.bytes();
    hasher.add(bytes.size());
    const size_t count = std::min(kSample, bytes.size());
    for (const size_t at : {bytes.size() / 4, bytes.size() / 2, bytes.size() - count})
      hasher.add_bytes(bytes.subspan(std::min(at, bytes.size() - count), count));
  }
  return hasher.digest().hex().substr(0, 12);
}

std::string option_text(const Arguments& arguments, std::string_view name) {
  return arguments.has(name) ? arguments.text(name, "given") : "unset";
}

}  // namespace

Result<deepseek::ExpertExchange> chosen_experts(const Arguments& arguments) {
  const std::string name = arguments.text("experts", "all-reduce");
  if (name == "all-reduce") return deepseek::ExpertExchange::all_reduce;
  if (name == "all-to-all") return deepseek::ExpertExchange::all_to_all;
  return invalid_argument(fmt::format("--experts is {}, expected all-reduce or all-to-all", name));
}

int threads_of_rank() {
  const int ranks = comm::MpiJob::local_ranks();
  return ranks == 1 ? 0 : std::max(1, CpuTopology::get().usable_cores() / ranks);
}

bool RankJob::is_silent() { return g_is_silent; }

Result<std::unique_ptr<RankJob>> RankJob::join(const Arguments& arguments) {
  const int wanted = arguments.integer("tp", 1);
  if (wanted < 1) return invalid_argument(fmt::format("--tp is {}, expected 1 or more", wanted));
  std::unique_ptr<RankJob> job(new RankJob());
  if (!comm::MpiJob::is_here()) {
    if (wanted == 1) return job;
    return invalid_argument(
        fmt::format("--tp {0} needs {0} processes and this is one; start them with mpirun -n {0} "
                    "tessera .., or tessera launch -n {0} -- ..",
                    wanted));
  }
  const double patience = arguments.number("patience", 300);
  if (!(patience > 0)) return invalid_argument("--patience expects a number of seconds above 0");
  TESSERA_ASSIGN(job->mpi_, comm::MpiJob::join(
                                std::chrono::milliseconds(static_cast<int64_t>(patience * 1000))));
  const int rank = job->mpi_->world().rank(), ranks = job->ranks();
  if (ranks > 1) set_log_prefix(fmt::format("rank {}", rank));
  if (wanted != ranks) {
    g_is_silent = rank != 0;
    return invalid_argument(fmt::format(
        "--tp is {}, and {} processes were started; they must be as many", wanted, ranks));
  }
  return job;
}

RankJob::~RankJob() {
  // Ranks that cannot be told have gone.
  if (has_met_ && leads() && ranks() > 1)
    static_cast<void>(deepseek::send_order(mpi_->world(), {.kind = deepseek::OrderKind::end}));
}

deepseek::Job RankJob::model_job() const {
  return mpi_ && ranks() > 1 ? deepseek::Job{&mpi_->world(), differ_} : deepseek::Job{};
}

Result<> RankJob::meet(const Arguments& arguments, const checkpoint::Checkpoint* checkpoint,
                       const Session& session, const Error* error) {
  if (ranks() == 1) return error ? Result<>(*error) : Result<>();
  comm::Communicator& world = mpi_->world();
  std::vector<comm::Fact> facts = {{"the program", program_text()}};
  for (const char* name : {"precision", "context", "chunk", "mtp", "deterministic", "config",
                           "layers", "batch", "prefill", "decode", "experts"})
    facts.push_back({fmt::format("--{}", name), option_text(arguments, name)});
  facts.push_back(
      {"a checkpoint of hash", checkpoint ? checkpoint_text(*checkpoint) : std::string("none")});
  const std::string text = session.tuning.text();
  facts.push_back({"tuning of hash", hash128(std::as_bytes(std::span(text))).hex()});
  auto agreed = comm::agree(world, facts, error);
  if (!agreed.ok()) {
    g_is_silent = !leads();
    return agreed;
  }
  TESSERA_ASSIGN(const auto chips, comm::gather_texts(world, session.device->info().arch));
  differ_ = std::ranges::any_of(chips, [&](const auto& chip) { return chip != chips[0]; });
  has_met_ = true;
  return {};
}

Result<int> RankJob::follow(const Load& load) {
  auto followed = deepseek::follow(mpi_->world(), load);
  if (followed.ok()) return 0;
  // Ranks that notice together let the first one speak.
  std::this_thread::sleep_for(std::chrono::milliseconds(250 * std::min(mpi_->world().rank(), 16)));
  fmt::print(stderr, "[rank {}] tessera: {}\n", mpi_->world().rank(), followed.error().message);
  std::fflush(stderr);
  mpi_->end(1);
}

Result<int> RankJob::finish(Result<int> result) {
  if (result.ok() || ranks() == 1 || !has_met_ ||
      result.error().code == ErrorCode::invalid_argument)
    return result;
  fmt::print(stderr, "tessera: {}\n", result.error().message);
  std::fflush(stderr);
  mpi_->end(1);
}

}  // namespace tessera::cli
