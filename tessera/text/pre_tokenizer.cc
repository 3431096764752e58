// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/pre_tokenizer.h"

#include <fmt/core.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tessera/text/utf8.h"

namespace tessera::text {
namespace {

// PCRE2's own \s has U+180E besides, which lost the property White_Space in Unicode 6.3.
constexpr std::string_view kWhiteSpace = R"(\t-\r\x{20}\x{85}\p{Z})";

/// Writes out \s and \S.
Result<std::string> translate(std::string_view pattern) {
  std::string translated;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\' || i + 1 == pattern.size()) {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      translated += c;
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's') {
      translated += in_class ? std::string(kWhiteSpace) : fmt::format("[{}]", kWhiteSpace);
    } else if (escaped == 'S') {
      if (in_class)
        return unsupported(fmt::format("pre-tokenizer pattern {}: \\S within a class", pattern));
      translated += fmt::format("[^{}]", kWhiteSpace);
    } else {
      translated += c;
      translated += escaped;
    }
  }
  return translated;
}

std::string pcre2_message(int code) {
  unsigned char message[256];
  if (pcre2_get_error_message(code, message, sizeof message) < 0)
    return fmt::format("error {}", code);
  return reinterpret_cast<const char*>(message);
}

template <auto free>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free(object);
  }
};

}  // namespace

class PreTokenizer::Regex {
 public:
  static Result<std::unique_ptr<Regex>> compile(const std::string& pattern) {
    TESSERA_ASSIGN(const std::string translated, translate(pattern));
    int error = 0;
    size_t offset = 0;
    auto regex = std::make_unique<Regex>();
    regex->pattern_ = pattern;
    // Without \C and with the pattern checked for UTF-8, only valid text may be matched.
    regex->code_.reset(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
    if (!regex->code_)
      return corrupt(fmt::format("pre-tokenizer pattern {}: {}", pattern, pcre2_message(error)));
    regex->jit_ = pcre2_jit_compile(regex->code_.get(), PCRE2_JIT_COMPLETE) == 0;
    return regex;
  }

  const pcre2_code* code() const { return code_.get(); }
  bool jit() const { return jit_; }
  const std::string& pattern() const { return pattern_; }

 private:
  std::unique_ptr<pcre2_code, Free<pcre2_code_free>> code_;
  std::string pattern_;
  bool jit_ = false;  // false: no JIT for this machine or pattern; the interpreter serves
};

/// What one thread needs to match one Regex.
class PreTokenizer::Match {
 public:
  explicit Match(const Regex& regex)
      : regex_(regex), data_(pcre2_match_data_create_from_pattern(regex.code(), nullptr)) {}

  size_t begin() const { return pcre2_get_ovector_pointer(data_.get())[0]; }
  size_t end() const { return pcre2_get_ovector_pointer(data_.get())[1]; }

  /// Whether there is a match at or after `start`.
  Result<bool> find(std::string_view text, size_t start) {
    int code = run(text, start);
    if (code == PCRE2_ERROR_JIT_STACKLIMIT && !stack_) {
      // The 32 KiB that JIT code takes from the machine stack do not do for this text.
      stack_.reset(pcre2_jit_stack_create(64 * 1024, 16 * 1024 * 1024, nullptr));
      context_.reset(pcre2_match_context_create(nullptr));
      if (!stack_ || !context_) return out_of_memory("stack for a regular expression");
      pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
      code = run(text, start);
    }
    if (code == PCRE2_ERROR_NOMATCH) return false;
    if (code < 0)
      return unsupported(fmt::format("pre-tokenizer pattern {} gives up: {}", regex_.pattern(),
                                     pcre2_message(code)));
    // \K or a look-behind could move the borders to before the start.
    if (begin() < start || end() < begin())
      return unsupported(
          fmt::format("pre-tokenizer pattern {} matches backwards", regex_.pattern()));
    return true;
  }

 private:
  int run(std::string_view text, size_t start) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const auto match = regex_.jit() ? pcre2_jit_match : pcre2_match;
    return match(regex_.code(), subject, text.size(), start, PCRE2_NO_UTF_CHECK, data_.get(),
                 context_.get());
  }

  const Regex& regex_;
  std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>> data_;
  std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>> context_;
  std::unique_ptr<pcre2_jit_stack, Free<pcre2_jit_stack_free>> stack_;
};

PreTokenizer::PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::compile(const std::vector<std::string>& patterns) {
  PreTokenizer pre_tokenizer;
  for (const std::string& pattern : patterns) {
    TESSERA_ASSIGN(auto regex, Regex::compile(pattern));
    pre_tokenizer.steps_.push_back(std::move(regex));
  }
  return pre_tokenizer;
}

Result<> PreTokenizer::split(std::string_view text, const Visit& visit) const {
  std::vector<Match> matches;
  matches.reserve(steps_.size());
  for (const auto& regex : steps_) matches.emplace_back(*regex);
  return split_by(0, text, matches, visit);
}

Result<> PreTokenizer::split_by(size_t step, std::string_view text, std::vector<Match>& matches,
                                const Visit& visit) const {
  if (text.empty()) return {};
  if (step == steps_.size()) {
    visit(text);
    return {};
  }
  size_t cut = 0;    // what lies before went to the next step
  size_t start = 0;  // of the search
  while (start <= text.size()) {
    TESSERA_ASSIGN(const bool found, matches[step].find(text, start));
    if (!found) break;
    const size_t begin = matches[step].begin(), end = matches[step].end();
    if (begin == end) {  // an empty match cuts, and the search goes on a character later
      TESSERA_TRY(split_by(step + 1, text.substr(cut, begin - cut), matches, visit));
      cut = begin;
      start = end + (end < text.size() ? next_utf8(text.substr(end)).length : 1);
      continue;
    }
    TESSERA_TRY(split_by(step + 1, text.substr(cut, begin - cut), matches, visit));
    TESSERA_TRY(split_by(step + 1, text.substr(begin, end - begin), matches, visit));
    cut = start = end;
  }
  return split_by(step + 1, text.substr(cut), matches, visit);
}

}  // namespace tessera::text
