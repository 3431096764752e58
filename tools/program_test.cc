// SPDX-License-Identifier: Apache-2.0
// Runs the real programs: output, error texts and exit codes.
#include "tools/program_run.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace tessera {
namespace {

TEST_F(ProgramTest, HelpNamesEveryCommand) {
  for (const char* arguments : {"", "--help"}) {
    const Output output = tessera(arguments);
    EXPECT_EQ(output.exit_code, 0);
    for (const char* command :
         {"run", "chat", "chips", "ops list", "ops show", "ops test", "ops bench", "pack", "tune",
          "inspect", "plan", "tokenize", "prompt render", "prompt parse", "doctor", "tour"})
      EXPECT_TRUE(contains(output, std::string("  ") + command)) << command << "\n" << output.text;
  }
  const Output help = tessera("ops test --help");
  EXPECT_TRUE(contains(help, "Usage: tessera ops test")) << help.text;
  EXPECT_TRUE(contains(help, "--chip"));
  EXPECT_TRUE(contains(tessera("--version"), "tessera 0."));
}

TEST_F(ProgramTest, WrongUseSaysWhatAndWhatNext) {
  expect_usage("chps", "tessera: no command \"chps\"; did you mean: chips; see `tessera --help`");
  expect_usage("ops tst",
               "tessera: no command \"tst\"; did you mean: test; see `tessera ops --help`");
  expect_usage("ops", "tessera: which one: list, show, test, bench?; see `tessera ops --help`");
  const Output output = tessera("ops test --chp null");
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_TRUE(contains(output, "--chp; see `tessera ops test --help`")) << output.text;
  EXPECT_EQ(tessera("ops bench --min-time soon").exit_code, 2);
}

TEST_F(ProgramTest, UnknownNamesAreWrongUse) {
  const Output chip = tessera("ops test --chip nul");
  EXPECT_EQ(chip.exit_code, 2);
  EXPECT_TRUE(contains(chip, "tessera: no chip \"nul\"; this build has: ")) << chip.text;
  expect_usage("ops test --chip null --op rms_nrm",
               "tessera: no operator \"rms_nrm\"; did you mean rms_norm?");
  expect_usage("ops show rms_nrm", "tessera: no operator \"rms_nrm\"; did you mean rms_norm?");
  expect_usage("ops test --op 'zz*'",
               "tessera: no operator matches \"zz*\"; `tessera ops list` shows all");
  expect_usage("ops test --chip null --op rms_norm --dtype f4e2m1",
               "tessera: no case of \"rms_norm\" has a tensor of dtype f4e2m1; these operators "
               "use: bf16, f32");
  const Output dtype = tessera("ops test --dtype float");
  EXPECT_EQ(dtype.exit_code, 2);
  EXPECT_TRUE(contains(dtype, "no dtype \"float\"; there are: i1, i8")) << dtype.text;
}

TEST_F(ProgramTest, ListsAndShowsOperators) {
  const Output list = tessera("ops list");
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_TRUE(contains(list, "rms_norm"));
  EXPECT_TRUE(contains(list, " operators. `tessera ops show NAME` explains one."));
  const auto json = nlohmann::json::parse(tessera("ops list --json --op rms_norm").text);
  EXPECT_EQ(json.at(0).at("name"), "rms_norm");
  const Output show = tessera("ops show rms_norm");
  EXPECT_TRUE(contains(show, "rms_norm (norm):")) << show.text;
  EXPECT_TRUE(contains(show, "cases:"));
  const Output trace = tessera("ops show rms_norm --trace --chip null");
  EXPECT_TRUE(contains(trace, "kernel rms_norm.")) << trace.text;
}

TEST_F(ProgramTest, ChipsAndDoctorDescribeTheMachine) {
  const Output chips = tessera("chips");
  EXPECT_EQ(chips.exit_code, 0);
  EXPECT_TRUE(contains(chips, "arch null:trace")) << chips.text;
  EXPECT_TRUE(nlohmann::json::parse(tessera("chips --json").text).is_array());
  const Output doctor = tessera("doctor");
  EXPECT_TRUE(contains(doctor, "kernel cache")) << doctor.text;
  EXPECT_TRUE(contains(doctor, "compiler"));
  const Output blocked = shell("TESSERA_CACHE_DIR=/proc/none " +
                               std::string(std::getenv("TESSERA_PROGRAM")) + " doctor");
  EXPECT_EQ(blocked.exit_code, 1);
  EXPECT_TRUE(contains(blocked, "set TESSERA_CACHE_DIR to a writable folder")) << blocked.text;
}

TEST_F(ProgramTest, TestsAndTimesOperatorsOnTheNullChip) {
  const Output test = tessera("ops test --chip null --op rms_norm");
  EXPECT_EQ(test.exit_code, 0) << test.text;
  EXPECT_TRUE(contains(test, "ok       norm/rms_norm")) << test.text;
  const auto json =
      nlohmann::json::parse(tessera("ops test --chip null --op rms_norm --json").text);
  EXPECT_EQ(json.at("status"), "ok");
  EXPECT_GT(json.at("cases").size(), 3u);
}

TEST_F(ProgramTest, AProcessFindsTheKernelsOfAnother) {
  const std::string command = "ops test --chip cpu:sse2 --op argmax";
  EXPECT_FALSE(contains(tessera(command), " 0 kernels compiled"));
  // Several at once: all find them, and nothing is damaged.
  const std::string program = std::string(std::getenv("TESSERA_PROGRAM")) + " " + command;
  const Output several = shell(program + " & " + program + " & " + program + " & wait");
  size_t found = 0;
  for (size_t at = 0;
       (at = several.text.find(" 0 kernels compiled, 0 from packs", at)) != std::string::npos; ++at)
    ++found;
  EXPECT_EQ(found, 3u) << several.text;
  EXPECT_FALSE(contains(several, "kernel cache")) << several.text;
}

TEST_F(ProgramTest, ProcessesMayCompileTheSameKernelsAtOnce) {
  const std::string program =
      std::string(std::getenv("TESSERA_PROGRAM")) + " ops test --chip cpu:sse2 --op embedding";
  const Output several = shell("export TESSERA_CACHE_DIR=" + path("shared") + "; " + program +
                               " & " + program + " & wait; " + program);
  EXPECT_TRUE(contains(several, " 0 kernels compiled, 0 from packs")) << several.text;
  EXPECT_FALSE(contains(several, "kernel cache")) << several.text;
  for (const auto& entry : fs::directory_iterator(path("shared"))) {
    const bool is_lock = entry.path().filename().string().starts_with("lock-");  // they stay
    EXPECT_TRUE(is_lock || entry.path().extension() == ".tsk") << "left over: " << entry.path();
  }
}

TEST_F(ProgramTest, APackRunsWithoutCompiler) {
  const std::string pack = path("rms.pack");
  const Output made = tessera("pack --chip null:trace --op rms_norm -o " + pack);
  EXPECT_EQ(made.exit_code, 0) << made.text;
  EXPECT_TRUE(contains(made, " kernels for null:trace, ")) << made.text;
  const Output list = tessera_rt("pack --list " + pack);
  EXPECT_TRUE(contains(list, "rms_norm.")) << list.text;
  const Output test = tessera_rt("ops test --chip null --op rms_norm --pack " + pack);
  EXPECT_EQ(test.exit_code, 0) << test.text;
  EXPECT_TRUE(contains(test, " 0 kernels compiled, ")) << test.text;
  EXPECT_FALSE(contains(test, ", 0 from packs"));
  const Output without = tessera_rt("ops test --chip null --op rms_norm");
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_TRUE(
      contains(without,
               "for null:trace in a pack: none was given, and this program has no compiler; make a "
               "pack that holds it with `tessera pack --chip null:trace`"))
      << without.text;
  const Output cannot = tessera_rt("pack --chip null");
  EXPECT_EQ(cannot.exit_code, 2);
  EXPECT_EQ(cannot.text,
            "tessera-rt: tessera-rt has no compiler; make packs with the program `tessera`\n");
}

TEST_F(ProgramTest, TunesWithAndWithoutCompiler) {
  const std::string pack = path("candidates.pack"), winners = path("a.tuning");
  const std::string use = "--op rms_norm --case 'T=1 '";
  const Output made = tessera("tune --emit " + pack + " " + use);
  ASSERT_EQ(made.exit_code, 0) << made.text;
  EXPECT_TRUE(contains(made, "; measure with `tune --measure " + pack + "`")) << made.text;
  const Output tuned =
      tessera_rt("tune --min-time 0.001 --measure " + pack + " -o " + winners + " --json " + use);
  ASSERT_EQ(tuned.exit_code, 0) << tuned.text;
  const auto report = nlohmann::json::parse(tuned.text.substr(0, tuned.text.find('\n')));
  EXPECT_EQ(report.at("use").get<std::string>().substr(0, 9), "rms_norm ");
  EXPECT_GT(report.at("timed"), 0);
  EXPECT_EQ(report.at("wrong"), 0);

  // Plans follow the file, and a pack carries it: its kernels are those the plans want.
  const std::string arch = report.at("arch");
  std::ofstream(winners) << nlohmann::json({{"format", "tessera tuning 1"},
                                            {"winners",
                                             {{{"arch", arch},
                                               {"use", report.at("use")},
                                               {"hints", {{"vector_tile", 32}}},
                                               {"us", 1},
                                               {"untuned_us", 2}}}}});
  const std::string untuned = path("untuned.pack"), carrying = path("tuned.pack");
  ASSERT_EQ(tessera("pack --op rms_norm -o " + untuned).exit_code, 0);
  ASSERT_EQ(tessera("pack --op rms_norm --tuning " + winners + " -o " + carrying).exit_code, 0);
  const std::string bench = "ops bench --min-time 0.001 " + use + " --pack ";
  EXPECT_EQ(tessera_rt(bench + carrying).exit_code, 0);
  const Output missing = tessera_rt(bench + untuned + " --tuning " + winners);
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_TRUE(contains(missing, "rms_norm.rows")) << missing.text;
}

TEST_F(ProgramTest, WrongTuningFilesAreRefused) {
  const std::string file = path("bad.tuning");
  write("bad.tuning", "{}");
  expect_error("ops test --op rms_norm --tuning " + file, 1,
               "tessera: " + file +
                   " is no tuning file of format \"tessera tuning 1\"; `tessera tune` makes one");
  expect_error("tune --op rms_norm -o " + file, 1,
               "tessera: " + file +
                   " is no tuning file of format \"tessera tuning 1\"; `tessera tune` makes one");
  expect_usage("tune --emit a.pack --measure a.pack",
               "tessera: --emit makes candidates and --measure times them: give one of them");
  const Output none = tessera_rt("tune --op rms_norm --emit " + path("a.pack"));
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_TRUE(
      contains(none, "tessera-rt has no compiler; emit candidates with the program `tessera`"))
      << none.text;
}

#if defined(__x86_64__)
TEST_F(ProgramTest, APackForAnotherMachineNamesItsFeatures) {
  const std::string make = " --op argmax -o " + path("other.pack");
  const Output made = tessera("pack --chip cpu:x86-64-v4+avx512bf16" + make);
  EXPECT_EQ(made.exit_code, 0) << made.text;
  EXPECT_TRUE(contains(made, " kernels for cpu:x86-64-v4, ")) << made.text;
  const Output unknown = tessera("pack --chip cpu:x86-64-v4+avx1024" + make);
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_TRUE(contains(unknown,
                       "cpu:x86-64-v4 has no optional feature \"avx1024\"; it has: avx512bf16, "
                       "avx512vnni, avx512vbmi"))
      << unknown.text;
}
#endif

TEST_F(ProgramTest, DamagedAndMissingPacksAreReported) {
  const std::string pack = path("damaged.pack");
  ASSERT_EQ(tessera("pack --chip null --op rms_norm -o " + pack).exit_code, 0);
  std::string bytes;
  {
    std::ifstream file(pack, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::string use = "ops test --chip null --op rms_norm --pack ";
  write("damaged.pack", bytes.substr(0, bytes.size() / 2));
  Output output = tessera_rt(use + pack);
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "tessera-rt: pack " + pack + ": truncated: the index ends at byte"))
      << output.text;
  EXPECT_TRUE(contains(output, "make it again with `tessera pack`"));
  std::string changed = bytes;
  for (size_t i = 64; i < bytes.size() / 2; i += 16) changed[i] ^= 1;
  write("damaged.pack", changed);
  output = tessera_rt(use + pack);
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "the checksum of the image of rms_norm.")) << output.text;
  output = tessera_rt(use + path("none.pack"));
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "tessera-rt: opening the pack: ")) << output.text;
  EXPECT_TRUE(contains(output, "none.pack: No such file or directory"));
}

TEST_F(ProgramTest, APackForAnotherArchitectureIsRefused) {
  const std::string pack = path("null.pack");
  ASSERT_EQ(tessera("pack --chip null --op rms_norm -o " + pack).exit_code, 0);
  const Output output = tessera("ops test --chip cpu --op rms_norm --pack " + pack);
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "holds kernels for null:trace, none for cpu")) << output.text;
  const Output unknown = tessera("pack --chip tpu -o " + pack);
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_TRUE(contains(unknown, "tessera: \"tpu\" is neither an architecture (")) << unknown.text;
}

TEST_F(ProgramTest, MissingDevicesCanBeSkipped) {
  const Output output = tessera("ops test --chip null:7 --op rms_norm --skip-missing");
  EXPECT_EQ(output.exit_code, 77);
  EXPECT_TRUE(contains(output, "skipped: ")) << output.text;
}

TEST_F(ProgramTest, TheRuntimeProgramLinksNoCompiler) {
  const Output libraries = shell("ldd " + std::string(std::getenv("TESSERA_RT_PROGRAM")));
  ASSERT_EQ(libraries.exit_code, 0);
  EXPECT_FALSE(contains(libraries, "LLVM")) << libraries.text;
  EXPECT_FALSE(contains(libraries, "MLIR")) << libraries.text;
}

}  // namespace
}  // namespace tessera
