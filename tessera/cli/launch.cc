// SPDX-License-Identifier: Apache-2.0
// Starts a command as the ranks of a job: writes the line for mpirun, or a job for Slurm or
// Kubernetes.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"

namespace tessera::cli {
namespace {

/// As a shell reads it back.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string line_of(const std::vector<std::string>& words) {
  std::vector<std::string> all;
  for (const std::string& word : words) all.push_back(quoted(word));
  return fmt::format("{}", fmt::join(all, " "));
}

struct Launch {
  int ranks = 1;
  std::string hosts;
  std::vector<std::string> command;  // the program and its arguments
};

std::vector<std::string> mpirun_words(const Launch& launch) {
  // Ranks share cores by their numbers of threads; helpful messages of mpirun's own would follow
  // every error of ours.
  std::vector<std::string> words = {"mpirun",          "-n",        std::to_string(launch.ranks),
                                    "--oversubscribe", "--bind-to", "none",
                                    "--quiet"};
  if (::geteuid() == 0) words.push_back("--allow-run-as-root");
  if (!launch.hosts.empty()) words.insert(words.end(), {"--hostfile", launch.hosts});
  words.insert(words.end(), launch.command.begin(), launch.command.end());
  return words;
}

std::string slurm_script(const Launch& launch) {
  return fmt::format(
      "#!/bin/bash\n"
      "#SBATCH --job-name=tessera\n"
      "#SBATCH --ntasks={}\n"
      "#SBATCH --kill-on-bad-exit=1\n"
      "srun --mpi=pmix {}\n",
      launch.ranks, line_of(launch.command));
}

/// For the MPI operator (kubeflow.org/v2beta1): one rank a worker. The image has tessera and Open
/// MPI.
std::string kubernetes_job(const Launch& launch) {
  std::string words;
  Launch inside = launch;
  inside.hosts.clear();  // the operator writes the host file
  for (const std::string& word : mpirun_words(inside))
    words += fmt::format("            - {}\n", nlohmann::json(word).dump());
  return fmt::format(
      "apiVersion: kubeflow.org/v2beta1\n"
      "kind: MPIJob\n"
      "metadata:\n"
      "  name: tessera\n"
      "spec:\n"
      "  slotsPerWorker: 1\n"
      "  runPolicy:\n"
      "    cleanPodPolicy: Running\n"
      "  mpiReplicaSpecs:\n"
      "    Launcher:\n"
      "      replicas: 1\n"
      "      template:\n"
      "        spec:\n"
      "          containers:\n"
      "          - name: launcher\n"
      "            image: tessera:latest\n"
      "            command:\n{}"
      "    Worker:\n"
      "      replicas: {}\n"
      "      template:\n"
      "        spec:\n"
      "          containers:\n"
      "          - name: worker\n"
      "            image: tessera:latest\n",
      words, launch.ranks);
}

Result<int> run(const Arguments& arguments, const Program&) {
  Launch launch;
  TESSERA_ASSIGN(const int64_t ranks, positive_option(arguments, "ranks", 1));
  launch.ranks = static_cast<int>(ranks);
  launch.hosts = arguments.text("hosts");
  std::error_code ignored;
  launch.command = {std::filesystem::read_symlink("/proc/self/exe", ignored).string()};
  const std::vector<std::string> words = arguments.list("COMMAND");
  launch.command.insert(launch.command.end(), words.begin(), words.end());
  if (std::ranges::find(words, "--tp") == words.end())
    launch.command.insert(launch.command.end(), {"--tp", std::to_string(launch.ranks)});

  const std::string form = arguments.text("emit");
  if (form == "slurm") return fmt::print("{}", slurm_script(launch)), 0;
  if (form == "k8s") return fmt::print("{}", kubernetes_job(launch)), 0;
  if (!form.empty())
    return invalid_argument(fmt::format("--emit {}: there are slurm and k8s", form));
  const std::vector<std::string> line = mpirun_words(launch);
  if (arguments.flag("print")) return fmt::print("{}\n", line_of(line)), 0;
  std::vector<char*> argv;
  for (const std::string& word : line) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp("mpirun", argv.data());
  return make_error(
      ErrorCode::unavailable,
      fmt::format("mpirun cannot be started: {}; it comes with Open MPI", std::strerror(errno)));
}

}  // namespace

CommandSpec launch_command() {
  using Kind = OptionSpec::Kind;
  return {.path = "launch",
          .summary = "Start a command as several ranks",
          .details =
              "The command follows --; it gets --tp N. Ranks of one machine share its cores.\n"
              "Examples: tessera launch -n 16 -- run DIR -p 'Hello'\n"
              "          tessera launch -n 16 --hosts hosts.txt --print -- bench model "
              "--random-weights",
          .positionals = {{"COMMAND..", "The command and its options, after --"}},
          .options =
              {{"-n,--ranks", Kind::kNumber, "N", "Ranks (default 1)"},
               {"--hosts", Kind::kText, "FILE", "Host file of mpirun: one host slots=N a line"},
               {"--print", Kind::kFlag, "", "Print the line for mpirun and do not run it"},
               {"--emit", Kind::kText, "FORM",
                "Print a job instead: slurm (a script for sbatch) or k8s (for the MPI operator)"}},
          .run = run};
}

}  // namespace tessera::cli
