// SPDX-License-Identifier: Apache-2.0
// Usage: <target> [runs] [file...]: files are run as they are.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "tessera/base/testing/fuzz_target.h"

namespace {

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

/// A few changes: a byte, a piece left out, doubled, or taken from another seed.
std::string mutate(std::string input, const std::vector<std::string>& seeds, std::mt19937& random) {
  const auto below = [&](size_t bound) { return bound == 0 ? 0 : random() % bound; };
  for (size_t changes = 1 + below(4); changes > 0; --changes) {
    const size_t at = below(input.size() + 1);
    const size_t length = below(std::min<size_t>(input.size() - at, 40) + 1);
    switch (below(6)) {
      case 0: input.insert(at, 1, static_cast<char>(random())); break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 2: input.erase(at, length); break;
      case 3: input.insert(at, input.substr(at, length)); break;
      case 4: {
        const std::string& other = seeds[below(seeds.size())];
        const size_t from = below(other.size() + 1);
        input.insert(at, other.substr(from, below(60)));
        break;
      }
      default: input.resize(at); break;
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 1 ? std::atoi(argv[1]) : 10000;
  for (int i = 2; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    run({std::istreambuf_iterator<char>(file), {}});
  }
  const std::vector<std::string> seeds = fuzz_seeds();
  for (const std::string& seed : seeds) run(seed);
  std::mt19937 random(1);
  for (int i = 0; i < runs; ++i) run(mutate(seeds[random() % seeds.size()], seeds, random));
  std::printf("%zu seeds, %d changed inputs\n", seeds.size(), runs);
  return 0;
}
