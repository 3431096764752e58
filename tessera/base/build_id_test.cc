// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/build_id.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace tessera {
namespace {

TEST(BuildIdTest, IsInTheProgramsFile) {
  const std::string id = build_id();
  if (id.empty()) GTEST_SKIP() << "this program was linked without a build id";
  ASSERT_EQ(id.size() % 2, 0u);
  std::string bytes;
  for (size_t i = 0; i < id.size(); i += 2)
    bytes += static_cast<char>(std::stoi(id.substr(i, 2), nullptr, 16));
  std::ifstream program("/proc/self/exe", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(program), {}};
  EXPECT_NE(file.find("GNU" + std::string(1, '\0') + bytes), std::string::npos);
}

}  // namespace
}  // namespace tessera
