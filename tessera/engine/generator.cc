// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace tessera::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool cancelled(const GenerationHooks& hooks) {
  return hooks.cancelled != nullptr && hooks.cancelled->load();
}

}  // namespace

Generator::Generator(LanguageModel& model, const text::Tokenizer* tokenizer,
                     GeneratorOptions options)
    : model_(model),
      tokenizer_(tokenizer),
      options_(options),
      sequences_(static_cast<size_t>(model.sequences())) {
  if (options_.chunk <= 0 || options_.chunk > model.largest_step())
    options_.chunk = model.largest_step();
}

void Generator::forget() { std::ranges::fill(sequences_, Sequence{}); }

Result<std::vector<Answer>> Generator::generate(std::span<const Request> requests,
                                                const GenerationHooks& hooks) {
  TESSERA_TRY(check(requests));
  auto answers = run(requests, hooks);
  if (!answers.ok()) forget();
  return answers;
}

Result<> Generator::check(std::span<const Request> requests) const {
  if (std::ssize(requests) > model_.sequences())
    return invalid_argument(fmt::format("{} prompts at once, the model was loaded for {}",
                                        requests.size(), model_.sequences()));
  if (options_.speculate && !model_.drafts())
    return invalid_argument("this model has no draft block (MTP); run it without --mtp");
  if (options_.speculate && std::ssize(requests) * 2 > model_.largest_step())
    return invalid_argument(
        fmt::format("{} prompts with drafts need steps of {} tokens, the model "
                    "was loaded for {}",
                    requests.size(), requests.size() * 2, model_.largest_step()));
  for (const Request& request : requests) {
    if (request.prompt.empty()) return invalid_argument("the prompt is empty");
    if (std::ssize(request.prompt) > model_.context())
      return invalid_argument(
          fmt::format("the prompt has {} tokens, the context holds {}; shorten it or raise "
                      "--context",
                      request.prompt.size(), model_.context()));
    for (const TokenId id : request.prompt)
      if (id < 0 || id >= model_.vocabulary())
        return invalid_argument(
            fmt::format("no token {} in this model; ids are 0 to {}", id, model_.vocabulary() - 1));
    if (request.max_new_tokens < 0)
      return invalid_argument(
          fmt::format("{} new tokens are wanted, expected 1 or more", request.max_new_tokens));
    TESSERA_TRY(request.sampling.check());
    if (!request.stop.empty() && tokenizer_ == nullptr)
      return invalid_argument("stop texts need a tokenizer, and the model has none");
    if (std::ranges::any_of(request.stop, &std::string::empty))
      return invalid_argument("a stop text is empty");
  }
  return {};
}

Result<std::vector<Answer>> Generator::run(std::span<const Request> requests,
                                           const GenerationHooks& hooks) {
  std::vector<AnswerWriter> writers;
  writers.reserve(requests.size());
  prompt_done_ = prompt_total_ = 0;
  for (const Request& request : requests) prompt_total_ += std::ssize(request.prompt);
  for (size_t i = 0; i < requests.size(); ++i) {
    writers.emplace_back(i, requests[i], model_.context(), tokenizer_, hooks);
    const auto start = Clock::now();
    TESSERA_TRY(prefill(i, writers[i], hooks));
    writers[i].stats().prefill_seconds = seconds_since(start);
  }
  while (std::ranges::any_of(writers, &AnswerWriter::active)) {
    if (cancelled(hooks)) {
      for (AnswerWriter& writer : writers)
        if (writer.active()) writer.finish(FinishReason::cancelled);
      break;
    }
    const auto start = Clock::now();
    std::vector<AnswerWriter*> in_work;
    for (AnswerWriter& writer : writers)
      if (writer.active()) in_work.push_back(&writer);
    TESSERA_TRY(decode(writers));
    for (AnswerWriter* writer : in_work) writer->stats().decode_seconds += seconds_since(start);
  }
  std::vector<Answer> answers;
  for (AnswerWriter& writer : writers) answers.push_back(writer.release());
  return answers;
}

Result<int64_t> Generator::begin(size_t index, std::span<const TokenId> prompt) {
  Sequence& sequence = sequences_[index];
  const auto differ = std::ranges::mismatch(sequence.held, prompt);
  // Logits are needed of the last token at least.
  const int64_t common = std::min<int64_t>(differ.in2 - prompt.begin(), std::ssize(prompt) - 1);
  if (sequence.highest - common <= model_.rollback()) return common;
  const auto id = static_cast<int32_t>(index);
  const std::optional<int64_t> saved = model_.saved(id);
  if (!saved || sequence.saved_highest - common > model_.rollback()) return 0;
  TESSERA_TRY(model_.restore(id));
  sequence.highest = sequence.saved_highest;
  return std::min(common, *saved);
}

void Generator::keep(size_t index, int64_t position, std::span<const TokenId> tokens) {
  Sequence& sequence = sequences_[index];
  if (position == 0) sequence.highest = 0;
  sequence.held.resize(static_cast<size_t>(position));
  sequence.held.insert(sequence.held.end(), tokens.begin(), tokens.end());
  sequence.highest = std::max(sequence.highest, std::ssize(sequence.held));
}

std::span<const float> Generator::row(std::span<const float> logits, size_t index) const {
  const auto width = static_cast<size_t>(model_.vocabulary());
  return logits.subspan(index * width, width);
}

Result<> Generator::prefill(size_t index, AnswerWriter& writer, const GenerationHooks& hooks) {
  const std::span<const TokenId> prompt = writer.request().prompt;
  const int64_t length = std::ssize(prompt);
  const auto sequence = static_cast<int32_t>(index);
  TESSERA_ASSIGN(int64_t at, begin(index, prompt));
  writer.stats().reused_tokens = at;
  prompt_done_ += at;
  const int64_t shared = writer.request().shared_tokens;
  const int64_t saved = shared > 0 ? std::min(shared, length) : length;
  while (at < length) {
    if (cancelled(hooks)) {
      writer.finish(FinishReason::cancelled);
      return {};
    }
    const int64_t count = std::min(options_.chunk, (at < saved ? saved : length) - at);
    const auto tokens = prompt.subspan(static_cast<size_t>(at), static_cast<size_t>(count));
    const TokenSpan span{.sequence = sequence, .position = at, .tokens = tokens};
    TESSERA_ASSIGN(const auto logits, model_.step({&span, 1}));
    keep(index, at, tokens);
    const bool is_last = at + count == length;
    if (is_last) TESSERA_TRY(writer.take(row(logits, 0)));
    if (options_.speculate && writer.active()) {
      std::vector<TokenId> next(tokens.begin() + 1, tokens.end());
      next.push_back(is_last ? writer.pending() : prompt[static_cast<size_t>(at + count)]);
      const TokenSpan shifted{.sequence = sequence, .position = at, .tokens = next};
      TESSERA_ASSIGN(const auto drafted, model_.draft({&shifted, 1}));
      if (is_last) {
        TESSERA_ASSIGN(writer.draft, likeliest(row(drafted, 0)));
      }
    }
    at += count;
    prompt_done_ += count;
    if (hooks.on_prompt) hooks.on_prompt(prompt_done_, prompt_total_);
    if (at != saved || !model_.snapshots()) continue;
    sequences_[index].saved_highest = sequences_[index].highest;
    TESSERA_TRY(model_.save(sequence));
  }
  return {};
}

Result<> Generator::decode(std::vector<AnswerWriter>& writers) {
  std::vector<std::array<TokenId, 2>> tokens(writers.size());
  std::vector<TokenSpan> spans;
  for (size_t i = 0; i < writers.size(); ++i) {
    AnswerWriter& writer = writers[i];
    if (!writer.active()) continue;
    const bool drafted = writer.draft.has_value() && writer.wants_draft();
    tokens[i] = {writer.pending(), writer.draft.value_or(0)};
    spans.push_back({.sequence = static_cast<int32_t>(i),
                     .position = writer.position(),
                     .tokens = {tokens[i].data(), drafted ? size_t{2} : size_t{1}},
                     .all_logits = true});
  }
  TESSERA_ASSIGN(const auto logits, model_.step(spans));

  // The rows that hold: what the draft block may go on from.
  std::vector<std::array<TokenId, 2>> next(writers.size());
  std::vector<TokenSpan> accepted;
  size_t rows = 0;
  for (const TokenSpan& span : spans) {
    const auto i = static_cast<size_t>(span.sequence);
    AnswerWriter& writer = writers[i];
    const bool drafted = span.tokens.size() == 2;
    keep(i, span.position, span.tokens);
    sequences_[i].held.resize(static_cast<size_t>(span.position) + 1);
    TESSERA_TRY(writer.take(row(logits, rows)));
    next[i][0] = writer.pending();
    size_t count = 1;
    if (drafted) {
      ++writer.stats().drafted_tokens;
      if (writer.pending() == span.tokens[1]) {
        ++writer.stats().accepted_tokens;
        if (writer.active()) {
          sequences_[i].held.push_back(span.tokens[1]);
          TESSERA_TRY(writer.take(row(logits, rows + 1)));
          next[i][count++] = writer.pending();
        }
      }
    }
    rows += span.tokens.size();
    if (options_.speculate && writer.active())
      accepted.push_back({.sequence = span.sequence,
                          .position = span.position,
                          .tokens = {next[i].data(), count}});
  }
  return accepted.empty() ? Result<>() : draft(accepted, writers);
}

Result<> Generator::draft(std::span<const TokenSpan> accepted, std::vector<AnswerWriter>& writers) {
  TESSERA_ASSIGN(const auto logits, model_.draft(accepted));
  for (size_t i = 0; i < accepted.size(); ++i) {
    AnswerWriter& writer = writers[static_cast<size_t>(accepted[i].sequence)];
    TESSERA_ASSIGN(writer.draft, likeliest(row(logits, i)));
  }
  return {};
}

}  // namespace tessera::engine
