// SPDX-License-Identifier: Apache-2.0
// Commands as several ranks, real processes under mpirun: they say what one rank says, and when
// something is wrong with one of them the job ends for all, soon and with a reason.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "tessera/base/testing/reference_data.h"
#include "tests/reference_model/random_checkpoint.h"
#include "tools/program_run.h"

namespace tessera {
namespace {

class ParallelCommandsTest : public ProgramTest {
 protected:
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    ::setenv("TESSERA_CACHE_DIR", std::getenv("TESSERA_MODEL_CACHE_DIR"), 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  }
  void SetUp() override {
    if (shell("command -v mpirun").exit_code != 0) GTEST_SKIP() << "there is no mpirun here";
  }
  static std::string program() { return std::getenv("TESSERA_PROGRAM"); }
  static std::string mpirun() { return "mpirun --oversubscribe --bind-to none --quiet"; }
  static Output ranks(int count, const std::string& arguments) {
    return shell(fmt::format("{} -n {} {} {}", mpirun(), count, program(), arguments));
  }
  /// Two groups of ranks with commands of their own.
  static Output two(const std::string& first, const std::string& second) {
    return shell(fmt::format("{} -n 1 {} : -n 1 {}", mpirun(), first, second));
  }
};

TEST_F(ParallelCommandsTest, RanksAnswerAsOneDoes) {
  const std::string arguments = "run tiny --ids 5,6,7,8,9 -n 6 --precision fp32 --context 512 ";
  const Output alone = tessera(arguments);
  ASSERT_EQ(alone.exit_code, 0) << alone.text;
  for (const int count : {2, 4}) {
    const Output together = ranks(count, arguments + fmt::format("--tp {}", count));
    EXPECT_EQ(together.exit_code, 0) << together.text;
    EXPECT_EQ(together.text, alone.text) << count << " ranks";
  }
}

TEST_F(ParallelCommandsTest, StatsSayWhatIsSent) {
  const Output output =
      ranks(4, "run tiny --ids 5,6,7,8,9 -n 6 --precision fp32 --context 512 --tp 4 --stats");
  EXPECT_EQ(output.exit_code, 0) << output.text;
  // Two ranks a group: half of 128 partial sums in f32 go to the other one.
  EXPECT_TRUE(contains(output, "o-group sums 256 B a layer")) << output.text;
  EXPECT_TRUE(contains(output, "attention sum ")) << output.text;
}

TEST_F(ParallelCommandsTest, RowsMayGoToTheRanksOfTheirExperts) {
  const std::string arguments = "run tiny --ids 5,6,7,8,9 -n 6 --precision fp32 --context 512 ";
  const Output alone = tessera(arguments);
  const std::string exchange = arguments + "--experts all-to-all ";
  EXPECT_EQ(tessera(exchange).text, alone.text);
  for (const int count : {2, 4}) {
    const Output together = ranks(count, exchange + fmt::format("--tp {}", count));
    EXPECT_EQ(together.exit_code, 0) << together.text;
    EXPECT_EQ(together.text, alone.text) << count << " ranks";
  }
  const Output stats = ranks(4, exchange + "--tp 4 --stats");
  for (const char* part : {"attention sum ", "row gather ", "expert dispatch ", "expert combine "})
    EXPECT_TRUE(contains(stats, part)) << part << stats.text;
  expect_usage("run tiny --ids 5 --experts some",
               "tessera: --experts is some, expected all-reduce or all-to-all");
  const Output differ =
      two(program() + " " + arguments + "--tp 2", program() + " " + exchange + "--tp 2");
  EXPECT_EQ(differ.text, "tessera: rank 1 has --experts all-to-all, rank 0 has unset\n");
}

// A host needs the files that all ranks read and those of its own ranks.
TEST_F(ParallelCommandsTest, ARankNeedsItsFilesOnly) {
  const std::string tiny = std::getenv("TESSERA_TINY_MODEL"),
                    rest = " --ids 5,6,7,8,9 -n 6 --precision fp32 --context 512 --tp 2";
  ASSERT_EQ(tessera(fmt::format("convert {} {} --to native --tp 2", tiny, path("whole"))).exit_code,
            0);
  for (const auto& [host, other] :
       {std::pair{"host0", "model-rank01"}, {"host1", "model-rank00"}}) {
    fs::copy(path("whole"), path(host), fs::copy_options::recursive);
    for (const auto& file : fs::directory_iterator(path(host)))
      if (file.path().filename().string().starts_with(other)) fs::remove(file.path());
  }
  EXPECT_NE(tessera("run " + path("host0") + " --ids 5").exit_code, 0);  // one rank needs all
  const Output alone = tessera("run tiny --ids 5,6,7,8,9 -n 6 --precision fp32 --context 512");
  const auto job = [&](const std::string& first, const std::string& second) {
    return two(program() + " run " + path(first) + rest, program() + " run " + path(second) + rest);
  };
  const Output apart = job("host0", "host1");
  EXPECT_EQ(apart.exit_code, 0) << apart.text;
  EXPECT_EQ(apart.text, alone.text);
  const Output wrong = job("host0", "host0");
  EXPECT_NE(wrong.exit_code, 0);
  EXPECT_TRUE(wrong.text.starts_with("tessera: rank 1: ")) << wrong.text;
  EXPECT_TRUE(contains(wrong, " shards are missing, with ")) << wrong.text;
  EXPECT_TRUE(contains(wrong, ": model-rank01-")) << wrong.text;
}

TEST_F(ParallelCommandsTest, ChipsMayDiffer) {
  const std::string arguments = " run tiny --ids 5,6,7,8,9 -n 6 --precision fp32 --context 512 ";
  const Output alone = tessera(arguments);
  const Output mixed =
      two(program() + arguments + "--tp 2", program() + arguments + "--tp 2 --chip cpu:avx2");
  EXPECT_EQ(mixed.exit_code, 0) << mixed.text;
  EXPECT_EQ(mixed.text, alone.text);
}

TEST_F(ParallelCommandsTest, OneRankMayBeAGpu) {
  const std::string arguments =
      " run tiny --ids 5,6,7,8,9 -n 6 --precision fp32 --context 64 --chunk 8 ";
  if (tessera("ops test --chip vulkan --op rms_norm").exit_code != 0)
    GTEST_SKIP() << "there is no Vulkan device here";
  const Output alone = tessera(arguments);
  const Output mixed =
      two(program() + arguments + "--tp 2", program() + arguments + "--tp 2 --chip vulkan");
  EXPECT_EQ(mixed.exit_code, 0) << mixed.text;
  EXPECT_EQ(mixed.text, alone.text);
}

TEST_F(ParallelCommandsTest, RanksEvaluateChatAndAreTimed) {
  const std::string eval = "eval tiny --task add --limit 3 --precision fp32 --json ";
  const auto answers = [](const Output& output) {
    const auto json = nlohmann::json::parse(output.text, nullptr, false);
    return json.is_discarded() ? nlohmann::json(output.text) : json["variants"][0]["tasks"];
  };
  const Output one = tessera(eval);
  for (const std::string experts : {"", " --experts all-to-all"}) {
    const Output two = ranks(2, eval + "--tp 2" + experts);
    EXPECT_EQ(two.exit_code, 0) << two.text;
    EXPECT_EQ(answers(two), answers(one));
  }

  const std::string lines = write("lines", "What is 12 + 30?\n/exit\n");
  const std::string chat = "chat tiny -n 6 --precision fp32 ";
  const Output alone = tessera(chat + "< " + lines);
  const Output together = ranks(2, chat + "--tp 2 < " + lines);
  EXPECT_EQ(together.exit_code, 0) << together.text;
  EXPECT_EQ(together.text, alone.text);

  const std::string config = write("config.json", reference_model::small_config().dump());
  const Output bench =
      ranks(2,
            "bench model --random-weights --layers 2 --prefill 16 --decode 2 --tp 2"
            " --experts all-to-all --config " +
                config);
  EXPECT_EQ(bench.exit_code, 0) << bench.text;
  EXPECT_TRUE(contains(bench, "expert sum")) << bench.text;  // decoding: fewer rows than ranks
  EXPECT_TRUE(contains(bench, "expert combine")) << bench.text;
}

TEST_F(ParallelCommandsTest, SixteenRanksVerify) {
  nlohmann::json config = reference_model::small_config();
  for (const auto& [name, value] : {std::pair{"num_attention_heads", 16},
                                    {"o_groups", 8},
                                    {"head_dim", 128},
                                    {"n_routed_experts", 16}})
    config[name] = value;
  fs::create_directories(path("sixteen"));
  ASSERT_TRUE(reference_model::write_random_checkpoint(config, path("sixteen"), 5).ok());
  const Output output = ranks(16, fmt::format("verify {} --tp 16", path("sixteen")));
  EXPECT_EQ(output.exit_code, 0) << output.text;
  EXPECT_TRUE(contains(output, "passed")) << output.text;
  const Output exchanged =
      ranks(2, fmt::format("verify {} --tp 2 --experts all-to-all", path("sixteen")));
  EXPECT_EQ(exchanged.exit_code, 0) << exchanged.text;
}

// fp32 within 1e-4 of the official code at every position and step, greedy ids equal; native within
// the limits of one rank.
TEST_F(ParallelCommandsTest, RanksReproduceTheOfficialNumbers) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const std::string nano = (reference_folder() / "goldens/flash-nano").string();
  for (const auto& [count, experts] :
       {std::pair{2, "all-to-all"}, {4, "all-reduce"}, {8, "all-to-all"}}) {
    const Output output = ranks(
        count, fmt::format("verify {0} --golden {0}/golden.safetensors --tp {1} --experts {2}",
                           nano, count, experts));
    EXPECT_EQ(output.exit_code, 0) << output.text;
    EXPECT_TRUE(contains(output, "passed")) << output.text;
  }
}

TEST_F(ParallelCommandsTest, TheNumberOfProcessesMustFit) {
  const Output against = tessera("launch -n 2 -- verify tiny --against cpu --tp 2");
  EXPECT_NE(against.exit_code, 0);
  EXPECT_TRUE(contains(against, "--against compares two chips of one rank; leave --tp out"))
      << against.text;
  expect_usage("run tiny --ids 5 --tp 4",
               "tessera: --tp 4 needs 4 processes and this is one; start them with mpirun -n 4 "
               "tessera .., or tessera launch -n 4 -- ..");
  const Output few = ranks(2, "run tiny --ids 5 --tp 4");
  EXPECT_EQ(few.exit_code, 2);
  EXPECT_EQ(few.text, "tessera: --tp is 4, and 2 processes were started; they must be as many\n");
  const Output odd = ranks(3, "run tiny --ids 5 --tp 3");
  EXPECT_EQ(odd.exit_code, 2);
  EXPECT_EQ(odd.text,
            "tessera: 3 ranks cannot share 4 heads in 2 o-groups; possible are 1, 2, 4\n");
}

TEST_F(ParallelCommandsTest, RanksMustBeAlike) {
  const std::string run = " run tiny --ids 5 --context 512 --tp 2";
  const Output precision = two(program() + run, program() + run + " --precision bf16");
  EXPECT_NE(precision.exit_code, 0);
  EXPECT_EQ(precision.text, "tessera: rank 1 has --precision bf16, rank 0 has unset\n");

  // Another program: one byte more at the end of its file.
  const std::string other = path("tessera-other");
  fs::copy_file(program(), other);
  std::ofstream(other, std::ios::app) << 'x';
  ::setenv("LD_LIBRARY_PATH", std::getenv("TESSERA_LIBRARY_DIR"), 1);
  const std::string folder = std::getenv("TESSERA_TINY_MODEL");
  const std::string rest = " --ids 5 --context 512 --tp 2";
  const Output programs = two(program() + " run " + folder + rest, other + " run " + folder + rest);
  ::unsetenv("LD_LIBRARY_PATH");
  EXPECT_NE(programs.exit_code, 0);
  EXPECT_TRUE(contains(programs, "tessera: rank 1 has the program ")) << programs.text;

  // Another checkpoint.
  fs::copy(folder, path("changed"), fs::copy_options::recursive);
  for (const auto& file : fs::directory_iterator(path("changed"))) {
    if (file.path().extension() != ".safetensors") continue;
    std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(static_cast<std::streamoff>(fs::file_size(file.path()) / 2));
    bytes.put('\x5a').put('\x5a').put('\x5a');
  }
  const Output checkpoints =
      two(program() + " run " + folder + rest, program() + " run " + path("changed") + rest);
  EXPECT_NE(checkpoints.exit_code, 0);
  EXPECT_TRUE(contains(checkpoints, "rank 1 has a checkpoint of hash ")) << checkpoints.text;
  const Output missing =
      two(program() + " run " + folder + rest, program() + " run " + path("nowhere") + rest);
  EXPECT_NE(missing.exit_code, 0);
  EXPECT_TRUE(contains(missing, "tessera: rank 1: ")) << missing.text;
}

/// Keeps a job busy for longer than a test waits.
constexpr const char* kLongPrompt = "yes 5 | head -n 90000 | paste -sd, -";

/// Starts a long job of two ranks, does `harm` to the process K of rank 1, and waits.
Output after(const std::string& command, const std::string& harm) {
  return shell(fmt::format(
      "{} & M=$!; for i in $(seq 60); do K=$(pgrep -P $M | tail -1); [ -n \"$K\" ] && break; sleep "
      "0.5; done; sleep 6; {}; S=$(date +%s); wait $M; echo code $?; echo after $(( $(date +%s) - "
      "S "
      ")) s; sleep 1; ps -o stat= -p $K | grep -qv Z && echo orphan",
      command, harm));
}

int seconds_of(const Output& output) {
  const size_t at = output.text.find("after ");
  return at == std::string::npos ? 999 : std::atoi(output.text.c_str() + at + 6);
}

TEST_F(ParallelCommandsTest, ARankThatDiesEndsTheJob) {
  const Output output = after(
      fmt::format(
          "{} | mpirun --oversubscribe --bind-to none -n 2 {} run tiny --ids - --precision fp32 "
          "--context 100000 --tp 2 > {}",
          kLongPrompt, program(), path("killed.txt")),
      "kill -9 $K");
  EXPECT_FALSE(contains(output, "code 0")) << output.text;
  EXPECT_TRUE(contains(output, "signal 9")) << output.text;
  EXPECT_FALSE(contains(output, "orphan")) << output.text;
  EXPECT_LE(seconds_of(output), 10) << output.text;
}

TEST_F(ParallelCommandsTest, ARankThatDoesNotAnswerEndsTheJob) {
  const Output output = after(fmt::format("{} | mpirun --oversubscribe --bind-to none --quiet -n 2 "
                                          "{} run tiny --ids - --precision fp32 "
                                          "--context 100000 --tp 2 --patience 5 > {}",
                                          kLongPrompt, program(), path("stopped.txt")),
                              "kill -STOP $K");
  EXPECT_FALSE(contains(output, "code 0")) << output.text;
  EXPECT_TRUE(contains(output, ": another rank did not come within 5.0 s")) << output.text;
  EXPECT_FALSE(contains(output, "orphan")) << output.text;
  EXPECT_LE(seconds_of(output), 10) << output.text;
}

/// A port that somebody listens on.
class TakenPort {
 public:
  TakenPort() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(socket_, any, size) == 0 && ::listen(socket_, 1) == 0 &&
        ::getsockname(socket_, any, &size) == 0)
      number_ = ntohs(address.sin_port);
  }
  ~TakenPort() { ::close(socket_); }
  int number() const { return number_; }

 private:
  int socket_, number_ = 0;
};

// Ports are MPI's; where it is told to take one that another program has, its message is the one.
TEST_F(ParallelCommandsTest, ATakenPortEndsTheJob) {
  const TakenPort port;
  ASSERT_NE(port.number(), 0);
  const auto start = std::chrono::steady_clock::now();
  const Output output =
      shell(fmt::format("{} --mca btl tcp,self --mca btl_tcp_port_min_v4 {} --mca "
                        "btl_tcp_port_range_v4 1 -n 2 {} run "
                        "tiny --ids 5 -n 2 --context 512 --tp 2",
                        mpirun(), port.number(), program()));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_NE(output.exit_code, 0);
  EXPECT_TRUE(contains(output, "no port available in the range")) << output.text;
  EXPECT_LE(elapsed.count(), 10);
  EXPECT_NE(
      shell("pgrep -f 'btl_tcp_port_min_v[4] " + std::to_string(port.number()) + "'").exit_code, 0);
}

TEST_F(ParallelCommandsTest, LaunchWritesTheLine) {
  const Output output = tessera("launch -n 16 --hosts my hosts --print -- run DIR -p 'Say: it''s'");
  EXPECT_NE(output.exit_code, 0);  // two words after --hosts
  const Output line = tessera("launch -n 16 --hosts hosts.txt --print -- run DIR -p 'two words'");
  EXPECT_EQ(line.exit_code, 0) << line.text;
  EXPECT_TRUE(line.text.starts_with("mpirun -n 16 --oversubscribe --bind-to none --quiet "))
      << line.text;
  EXPECT_TRUE(contains(line, "--hostfile hosts.txt "));
  EXPECT_TRUE(line.text.ends_with(" run DIR -p 'two words' --tp 16\n")) << line.text;
  const Output slurm = tessera("launch -n 8 --emit slurm -- run DIR");
  EXPECT_TRUE(contains(slurm, "#SBATCH --ntasks=8\n"));
  EXPECT_TRUE(contains(slurm, " run DIR --tp 8\n"));
  const Output k8s = tessera("launch -n 8 --emit k8s -- run DIR");
  EXPECT_TRUE(contains(k8s, "kind: MPIJob\n"));
  EXPECT_TRUE(contains(k8s, "      replicas: 8\n"));
  expect_usage("launch -n 8 --emit pbs -- run DIR", "tessera: --emit pbs: there are slurm and k8s");
}

TEST_F(ParallelCommandsTest, LaunchRunsTheCommand) {
  const Output output =
      tessera("launch -n 2 -- run tiny --ids 5,6 -n 2 --precision fp32 --context 512");
  EXPECT_EQ(output.exit_code, 0) << output.text;
  EXPECT_EQ(output.text, tessera("run tiny --ids 5,6 -n 2 --precision fp32 --context 512").text);
}

}  // namespace
}  // namespace tessera
