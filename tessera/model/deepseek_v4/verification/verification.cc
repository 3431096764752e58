// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/verification/verification.h"

#include <fmt/format.h>

#include <algorithm>

namespace tessera::model::deepseek_v4 {
namespace {

constexpr int64_t kFilledRows = 16;  // positions of a prompt that fill_prompt() keeps

/// Calls `chunk(first, count)` over `length` tokens, as few times as `largest` allows.
template <class Chunk>
Result<> in_chunks(int64_t length, int64_t largest, const Chunk& chunk) {
  for (int64_t first = 0; first < length; first += largest)
    TESSERA_TRY(chunk(first, std::min(largest, length - first)));
  return {};
}

template <class T>
std::span<const T> part(const std::vector<T>& all, int64_t first, int64_t count) {
  return std::span(all).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
}

struct Outputs {
  Rows prompt, draft;
};

/// Feeds the tokens of a prompt. Logits of the last `wanted` positions, and of the draft block
/// where the prompt has them.
Result<Outputs> prefill(Subject& subject, const Prompt& prompt, int64_t wanted) {
  Outputs outputs;
  const int64_t length = prompt.length();
  std::vector<int32_t> next_ids(prompt.ids.begin() + 1, prompt.ids.end());
  if (!prompt.draft.empty()) next_ids.push_back(prompt.greedy_ids[0]);
  TESSERA_TRY(
      in_chunks(length, subject.largest_step(), [&](int64_t first, int64_t count) -> Result<> {
        const int64_t take = std::clamp<int64_t>(first + count - (length - wanted), 0, count);
        TESSERA_ASSIGN(const Rows logits,
                       subject.step({0, first, part(prompt.ids, first, count), take > 1}));
        if (take > 0) {
          outputs.prompt.columns = logits.columns;
          outputs.prompt.append(logits.part(logits.count() - take, logits.count()));
        }
        if (!prompt.draft.empty()) {
          TESSERA_ASSIGN(outputs.draft, subject.draft({0, first, part(next_ids, first, count)}));
        }
        return {};
      }));
  return outputs;
}

Result<> verify_logits(Subject& subject, const Prompt& prompt, Verification& result) {
  const bool fp32 = result.expected == Numbers::fp32;
  const auto add = [&](LogitsComparison vector, LogitsComparison::Part part,
                       std::string_view name) -> LogitsComparison& {
    vector.name = fmt::format("{}.{}", prompt.name, name);
    vector.part = part;
    vector.prompt_length = prompt.length();
    return result.vectors.emplace_back(std::move(vector));
  };
  TESSERA_ASSIGN(const Outputs outputs, prefill(subject, prompt, prompt.logits.count()));
  Rows steps(prompt.logits.columns);
  for (int64_t i = 0; i < std::ssize(prompt.greedy_ids); ++i) {
    TESSERA_ASSIGN(const Rows logits,
                   subject.step({0, prompt.length() + i, part(prompt.greedy_ids, i, 1)}));
    steps.append(logits.values);
  }
  add(compare_logits(outputs.prompt, prompt.logits), LogitsComparison::Part::kPrompt,
      fp32 ? "fp32.logits" : "native.last_logits");
  LogitsComparison& decoded =
      add(compare_logits(steps, prompt.steps), LogitsComparison::Part::kSteps,
          fp32 ? "fp32.greedy_logits" : "native.forced_logits");
  if (fp32) {
    decoded.greedy_ids = std::ssize(prompt.greedy_ids);
    decoded.equal_greedy_ids = count_equal_greedy_ids(outputs.prompt, steps, prompt.greedy_ids);
  }
  if (!prompt.draft.empty())
    add(compare_logits(outputs.draft, prompt.draft), LogitsComparison::Part::kDraft,
        "native.mtp_last_logits");
  return {};
}

Result<> verify_layer(Subject& subject, const Prompt& prompt, size_t layer, LayerErrors& errors) {
  const LayerTrace& trace = prompt.trace;
  const int64_t columns = trace.prefill[0]->shape[-1] * trace.prefill[0]->shape[-2];
  const Rows before = read_rows(*trace.prefill[layer], columns);
  Rows after(columns);
  TESSERA_TRY(in_chunks(
      prompt.length(), subject.largest_step(), [&](int64_t first, int64_t count) -> Result<> {
        const auto given = before.part(first, first + count);
        TESSERA_ASSIGN(const Rows out,
                       subject.layer(layer, {0, first, part(prompt.ids, first, count)},
                                     Rows(columns, {given.begin(), given.end()})));
        after.append(out.values);
        return {};
      }));
  const int64_t chunk = std::min(prompt.length(), subject.largest_step());
  const Sums sums = chunk <= subject.most_exact_rows() ? Sums::kExact : Sums::kCoarse;
  errors.add(sums, after, read_rows(*trace.prefill[layer + 1], columns), prompt.name);
  for (size_t j = 0; j < trace.steps.size(); ++j) {
    const auto step = static_cast<int64_t>(j);
    TESSERA_ASSIGN(
        const Rows out,
        subject.layer(layer, {0, prompt.length() + step, part(prompt.greedy_ids, step, 1)},
                      read_rows(*trace.steps[j][layer], columns)));
    errors.add(sums, out, read_rows(*trace.steps[j][layer + 1], columns),
               fmt::format("{} step {}", prompt.name, j));
  }
  return {};
}

}  // namespace

bool Verification::passed() const {
  return !checks.empty() && std::ranges::all_of(checks, &LimitCheck::passed);
}

Result<Verification> verify(Subject& subject, Precision precision, Numbers expected,
                            std::span<const Prompt> prompts, const VerifyProgress& progress) {
  Verification result;
  result.precision = precision;
  result.expected = expected;
  for (size_t i = 0; i < prompts.size(); ++i) {
    progress(prompts[i].name, i, prompts.size());
    TESSERA_TRY(verify_logits(subject, prompts[i], result).context(prompts[i].name));
  }
  size_t layers = 0;
  for (const Prompt& prompt : prompts)
    if (!prompt.trace.prefill.empty()) layers = prompt.trace.prefill.size() - 1;
  result.layers.resize(layers);
  for (size_t layer = 0; layer < layers; ++layer) {
    progress(fmt::format("layer {}", layer), layer, layers);
    for (const Prompt& prompt : prompts)
      if (!prompt.trace.prefill.empty())
        TESSERA_TRY(verify_layer(subject, prompt, layer, result.layers[layer])
                        .context(fmt::format("{}, layer {}", prompt.name, layer)));
  }
  result.checks = judge(result);
  return result;
}

Result<> fill_prompt(Subject& subject, Prompt& prompt, int64_t steps) {
  TESSERA_ASSIGN(Outputs outputs, prefill(subject, prompt, std::min(prompt.length(), kFilledRows)));
  prompt.logits = std::move(outputs.prompt);
  prompt.steps = Rows(prompt.logits.columns);
  prompt.greedy_ids = {static_cast<int32_t>(argmax(prompt.logits[prompt.logits.count() - 1]))};
  for (int64_t i = 0; i < steps; ++i) {
    TESSERA_ASSIGN(const Rows logits,
                   subject.step({0, prompt.length() + i, part(prompt.greedy_ids, i, 1)}));
    prompt.steps.append(logits.values);
    if (i + 1 < steps) prompt.greedy_ids.push_back(static_cast<int32_t>(argmax(logits[0])));
  }
  return {};
}

}  // namespace tessera::model::deepseek_v4
