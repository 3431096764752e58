// SPDX-License-Identifier: Apache-2.0
// Builds a prompt out of what the encoding writes and what the conversation says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tessera/text/text_range.h"
#include "tessera/text/utf8.h"

namespace tessera::text {

class PromptWriter {
 public:
  /// Text in which control tokens count.
  void control(std::string_view text) { text_ += text; }

  /// Text from the conversation: its bytes are remembered as a literal range; made valid UTF-8.
  void literal(std::string_view text) {
    if (text.empty()) return;
    const size_t begin = text_.size();
    if (is_utf8(text)) {
      text_ += text;
    } else {
      text_ += replace_invalid_utf8(text);
    }
    if (!ranges_.empty() && ranges_.back().end == begin) {
      ranges_.back().end = text_.size();
    } else {
      ranges_.push_back({begin, text_.size()});
    }
  }

  std::string& text() { return text_; }
  std::vector<TextRange>& ranges() { return ranges_; }

 private:
  std::string text_;
  std::vector<TextRange> ranges_;
};

}  // namespace tessera::text
