// SPDX-License-Identifier: Apache-2.0
// For tests: the lists of tensors of the published checkpoints, one line a pattern:
//   layers.N.ffn.experts.E.w1.weight <tab> I8 <tab> 2048x2048 <tab> 11008 <tab> 2..42 step2
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tessera/base/shape.h"
#include "tessera/model/deepseek_v4/config.h"

namespace tessera::model::deepseek_v4 {

struct ListedTensor {
  std::string dtype;  // "BF16"
  Shape shape;
};

class TensorList {
 public:
  explicit TensorList(const Config& config) : config_(config) {}

  /// All tensors by name. Fails the test when the file's own counts do not come out.
  std::map<std::string, ListedTensor> read(const std::filesystem::path& path) {
    std::ifstream file(path);
    EXPECT_TRUE(file.good()) << path;
    std::string text;
    std::getline(file, text);  // headings
    while (std::getline(file, text)) lines_.push_back(parse(text));
    std::map<std::string, ListedTensor> all;
    for (Line& line : lines_) {
      resolve(line);
      const std::vector<std::string> names = names_of(line);
      EXPECT_EQ(names.size(), line.count) << line.pattern;
      for (const std::string& name : names)
        EXPECT_TRUE(all.emplace(name, line.tensor).second) << name;
    }
    return all;
  }

 private:
  struct Line {
    std::string pattern;
    ListedTensor tensor;
    size_t count = 0;
    std::set<int> layers;
  };

  Line parse(const std::string& text) const {
    std::istringstream fields(text);
    Line line;
    std::string extents, count, layers;
    std::getline(fields, line.pattern, '\t');
    std::getline(fields, line.tensor.dtype, '\t');
    std::getline(fields, extents, '\t');
    std::getline(fields, count, '\t');
    std::getline(fields, layers, '\t');
    std::vector<int64_t> shape;
    std::istringstream numbers(extents);
    for (std::string number; std::getline(numbers, number, 'x');)
      shape.push_back(std::stoll(number));
    line.tensor.shape = Shape(shape);
    line.count = std::stoul(count);
    line.layers = parse_layers(layers);
    return line;
  }

  /// "all", "", "0,1,2", "2..42", "2..42 step2"
  std::set<int> parse_layers(const std::string& text) const {
    std::set<int> all;
    if (const size_t dots = text.find(".."); dots != std::string::npos) {
      const size_t step = text.find("step");
      const int stride = step == std::string::npos ? 1 : std::atoi(text.c_str() + step + 4);
      const int last = std::atoi(text.c_str() + dots + 2);
      for (int i = std::atoi(text.c_str()); i <= last; i += stride) all.insert(i);
    } else if (text == "all") {
      for (size_t i = 0; i < config_.layers.size(); ++i) all.insert(static_cast<int>(i));
    } else {
      std::istringstream numbers(text);
      for (std::string number; std::getline(numbers, number, ',');) all.insert(std::stoi(number));
    }
    return all;
  }

  /// "0..59" of 31 layers means those that no other line of the pattern claims.
  void resolve(Line& line) const {
    if (line.pattern.find(".N.") == std::string::npos ||
        line.pattern.find(".E.") != std::string::npos || line.layers.size() == line.count)
      return;
    for (const Line& other : lines_)
      if (&other != &line && other.pattern == line.pattern)
        for (const int layer : other.layers) line.layers.erase(layer);
  }

  std::vector<std::string> names_of(const Line& line) const {
    std::vector<std::string> names = {line.pattern};
    const auto replace = [&](const std::string& mark, const std::set<int>& values) {
      if (line.pattern.find(mark) == std::string::npos) return;
      std::vector<std::string> replaced;
      for (const std::string& name : names)
        for (const int value : values) {
          const size_t at = name.find(mark);
          replaced.push_back(name.substr(0, at) + "." + std::to_string(value) + "." +
                             name.substr(at + mark.size()));
        }
      names = std::move(replaced);
    };
    std::set<int> experts;
    for (int e = 0; e < config_.experts; ++e) experts.insert(e);
    replace(".N.", line.layers);
    replace(".E.", experts);
    return names;
  }

  const Config& config_;
  std::vector<Line> lines_;
};

}  // namespace tessera::model::deepseek_v4
