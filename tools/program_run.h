// SPDX-License-Identifier: Apache-2.0
// For tests of the programs: runs them and looks at exit codes and what they print.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace tessera {

namespace fs = std::filesystem;

struct Output {
  int exit_code = -1;
  std::string text;  // stdout and stderr
};

/// Runs a shell command line.
inline Output shell(const std::string& command) {
  Output output;
  FILE* pipe = ::popen(("( " + command + " ) 2>&1").c_str(), "r");
  if (pipe == nullptr) return output;
  std::array<char, 4096> part;
  for (size_t n; (n = std::fread(part.data(), 1, part.size(), pipe)) > 0;)
    output.text.append(part.data(), n);
  const int status = ::pclose(pipe);
  output.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

inline bool contains(const Output& output, const std::string& text) {
  return output.text.find(text) != std::string::npos;
}

/// A folder for files, and with it a kernel cache of its own.
class ProgramTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string name = (fs::temp_directory_path() / "tessera-cli-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    ::setenv("TESSERA_CACHE_DIR", (folder_ / "cache").c_str(), 1);
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static Output tessera(const std::string& arguments) {
    return shell(std::string(std::getenv("TESSERA_PROGRAM")) + " " + arguments);
  }
  static Output tessera_rt(const std::string& arguments) {
    return shell(std::string(std::getenv("TESSERA_RT_PROGRAM")) + " " + arguments);
  }
  /// A wrong use: exit code 2 and this one line.
  static void expect_usage(const std::string& arguments, const std::string& text) {
    expect_error(arguments, 2, text);
  }
  static void expect_error(const std::string& arguments, int exit_code, const std::string& text) {
    const Output output = tessera(arguments);
    EXPECT_EQ(output.exit_code, exit_code) << arguments;
    EXPECT_EQ(output.text, text + "\n") << arguments;
  }
  static std::string path(const std::string& name) { return (folder_ / name).string(); }
  /// The path of a new file.
  static std::string write(const std::string& name, const std::string& content) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return path(name);
  }

  inline static fs::path folder_;
};

}  // namespace tessera
