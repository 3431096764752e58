// SPDX-License-Identifier: Apache-2.0
// Takes a completion apart while it arrives, and makes the best of malformed ones. It never fails,
// never gives out a part of a tag, and the parts it gives out do not depend on how the text was
// cut.
//
// - A tool call counts when its closing tag has arrived and the tool is a known one; until then, or
//   otherwise, it is text. This holds with and without the wrapper around it, and within reasoning.
// - Wrappers misspelt "toolcalls" or "function_calls" are wrappers; empty ones vanish.
// - Closing tags without an opening one vanish; so do up to two line breaks before a tool call and
//   white space behind it.
// - <think> at the very beginning opens reasoning where none was expected.
// - Nothing counts after the end-of-sentence token.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tessera/text/completion.h"
#include "tessera/text/invoke_scanner.h"

namespace tessera::text {

class CompletionParser {
 public:
  explicit CompletionParser(CompletionOptions options = {})
      : options_(std::move(options)), reasoning_(options_.starts_in_reasoning) {}

  /// What is certain by now. `text` may be cut anywhere.
  Completion push(std::string_view text);

  /// What was held back. To be called once, at the end.
  Completion finish();

  /// Whether text counts as reasoning at present.
  bool in_reasoning() const { return reasoning_; }

 private:
  enum class Tag { think_open, think_close, block_open, block_close, invoke, stray };

  void parse(bool is_final, Completion& out);
  bool parse_text(bool is_final, Completion& out);
  bool parse_invoke(bool is_final, Completion& out);
  void handle_tag(Tag tag, size_t begin, size_t end, Completion& out);
  void emit(std::string_view text, Completion& out);
  void emit_outside_block(std::string_view text, Completion& out);

  struct TagText {
    std::string_view text;
    Tag tag;
  };
  static const TagText kTags[];

  CompletionOptions options_;
  bool reasoning_;
  bool ended_ = false;    // by the end-of-sentence token
  bool at_start_ = true;  // nothing was taken from pending_
  std::string input_;     // held back: may become the end-of-sentence token
  std::string pending_;   // not parsed yet; within a call, all of it from behind the opening tag
  std::optional<InvokeScanner> invoke_;  // within a call

  // Within or right behind a block of calls white space is swallowed, and the block's opening tag
  // with it, to be given back if text follows: held_.
  bool in_block_ = false;
  std::string held_;
  bool held_has_tag_ = false;
  bool gave_back_ = false;  // the block's opening tag became text; its closing tag will, too
};

/// The whole text at once.
Completion parse_completion(std::string_view text, const CompletionOptions& options = {});

}  // namespace tessera::text
