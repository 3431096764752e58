// SPDX-License-Identifier: Apache-2.0
// For tests: the folder of reference vectors. It is TESSERA_REFERENCE_DIR when set, else
// ../shared/reference beside the repository. Without it such tests are skipped and say so.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace tessera {

inline std::filesystem::path reference_folder() {
  if (const char* folder = std::getenv("TESSERA_REFERENCE_DIR")) return folder;
  return std::filesystem::path(TESSERA_SOURCE_FOLDER) / "../shared/reference";
}

inline std::string read_reference(const std::filesystem::path& name) {
  std::ifstream file(reference_folder() / name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace tessera

#define TESSERA_SKIP_WITHOUT_REFERENCE(name)                                      \
  if (!std::filesystem::exists(::tessera::reference_folder() / (name)))           \
  GTEST_SKIP() << "no reference data: " << ::tessera::reference_folder() / (name) \
               << " is absent; set TESSERA_REFERENCE_DIR"
