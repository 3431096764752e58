// SPDX-License-Identifier: Apache-2.0
// The version follows the sources: the script that hashes them, on files of its own.
#include "tessera/compiler/version.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>
#include <string>

#include "tessera/base/testing/temporary_folder.h"

namespace tessera::compiler {
namespace {

TEST(CompilerVersion, NamesSourcesAndLlvm) {
  const std::string version(compiler_version());
  EXPECT_TRUE(std::regex_match(version, std::regex("[0-9a-f]{32} llvm [0-9]+[.][0-9]+[.][0-9]+")))
      << version;
}

class SourceHashTest : public ::testing::Test {
 protected:
  SourceHashTest() {
    write_file(folder_ / "a.cc", "int a;");
    write_file(folder_ / "b.h", "int b;");
    list("a.cc\nb.h\n");
  }
  void list(const std::string& files) { write_file(folder_ / "list", files); }
  std::string hash() {
    const std::string folder = folder_.path().string();
    const std::string command = std::string(TESSERA_CMAKE) + " -D NAME=kHash -D ROOT=" + folder +
                                " -D LIST=" + folder + "/list -D OUTPUT=" + folder + "/hash.h -P " +
                                TESSERA_SOURCE_HASH;
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return read_file(folder_ / "hash.h");
  }
  TemporaryFolder folder_;
};

TEST_F(SourceHashTest, ChangesWithContentsNamesAndNumberOfFiles) {
  const std::string first = hash();
  EXPECT_EQ(hash(), first);
  write_file(folder_ / "b.h", "int c;");
  const std::string changed = hash();
  EXPECT_NE(changed, first);
  write_file(folder_ / "b.h", "int b;");
  EXPECT_EQ(hash(), first);
  list("a.cc\n");
  EXPECT_NE(hash(), first);
  write_file(folder_ / "c.h", "int b;");
  list("a.cc\nc.h\n");
  EXPECT_NE(hash(), first);
}

}  // namespace
}  // namespace tessera::compiler
