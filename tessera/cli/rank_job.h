// SPDX-License-Identifier: Apache-2.0
// The ranks of a command: this process alone, or those that mpirun started. Rank 0 talks and
// decides, the others follow it.
#pragma once

#include <functional>
#include <memory>

#include "tessera/checkpoint/checkpoint.h"
#include "tessera/cli/command.h"
#include "tessera/cli/session.h"
#include "tessera/comm/mpi_job.h"
#include "tessera/model/deepseek_v4/model.h"

namespace tessera::cli {

inline constexpr OptionSpec kTpOption{
    "--tp", OptionSpec::Kind::kNumber, "N",
    "Tensor-parallel ranks, started by mpirun -n N or tessera launch (default 1)"};
inline constexpr OptionSpec kPatienceOption{
    "--patience", OptionSpec::Kind::kNumber, "SECONDS",
    "With --tp: how long ranks wait for one of them before the job ends (default 300)"};

inline constexpr OptionSpec kExpertsOption{
    "--experts", OptionSpec::Kind::kText, "HOW",
    "With --tp: all-reduce (default) adds the sums of all ranks' experts; all-to-all sends tokens "
    "to "
    "the ranks of their experts and keeps the shared expert whole"};

/// Wrong use: a name that is none of them.
Result<model::deepseek_v4::ExpertExchange> chosen_experts(const Arguments& arguments);

class RankJob {
 public:
  /// Wrong use: --tp and the number of processes differ.
  static Result<std::unique_ptr<RankJob>> join(const Arguments& arguments);
  /// Rank 0 ends the job, the others leave it.
  ~RankJob();
  RankJob(const RankJob&) = delete;
  RankJob& operator=(const RankJob&) = delete;

  int ranks() const { return mpi_ ? mpi_->world().size() : 1; }
  /// This rank, reaching experts as `like` does.
  model::deepseek_v4::Rank rank(const model::deepseek_v4::Rank& like) const {
    return {mpi_ ? mpi_->world().rank() : 0, ranks(), like.experts};
  }
  bool leads() const { return !mpi_ || mpi_->world().rank() == 0; }

  /// Every rank calls it once it has opened what it needs, or could not: `error`. Compares
  /// programs, checkpoints and options, and learns whether chips differ.
  Result<> meet(const Arguments& arguments, const checkpoint::Checkpoint* checkpoint,
                const Session& session, const Error* error);
  /// For models of this job, after meet().
  model::deepseek_v4::Job model_job() const;

  using Load = std::function<Result<std::unique_ptr<model::deepseek_v4::Model>>(
      const model::deepseek_v4::ModelOptions&)>;
  /// Of ranks other than 0: does what rank 0 says until the job ends. An error ends it for all.
  Result<int> follow(const Load& load);
  /// Of rank 0: passes on what the command came to. An error that the other ranks cannot know of
  /// ends the job at once.
  Result<int> finish(Result<int> result);

  /// Whether rank 0 says what there is to say, and this process should not.
  static bool is_silent();

 private:
  RankJob() = default;

  std::unique_ptr<comm::MpiJob> mpi_;
  bool has_met_ = false, differ_ = false;
};

/// Threads of a rank where nothing else is asked for: the ranks of a machine share its cores. 0:
/// all.
int threads_of_rank();

}  // namespace tessera::cli
