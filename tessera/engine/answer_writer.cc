// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/answer_writer.h"

#include <algorithm>

namespace tessera::engine {

AnswerWriter::AnswerWriter(size_t index, const Request& request, int64_t context,
                           const text::Tokenizer* tokenizer, const GenerationHooks& hooks)
    : index_(index),
      request_(&request),
      hooks_(&hooks),
      context_(context),
      position_(std::ssize(request.prompt) - 1),
      sampler_(request.sampling, request.prompt),
      stops_(request.stop) {
  if (tokenizer != nullptr) detokenizer_.emplace(*tokenizer, /*skip_special=*/true);
  answer_.stats.prompt_tokens = std::ssize(request.prompt);
}

bool AnswerWriter::wants_draft() const {
  const int64_t most = request_->max_new_tokens;
  return active_ && position_ + 1 < context_ && (most == 0 || std::ssize(answer_.ids) + 2 <= most);
}

Result<> AnswerWriter::take(std::span<const float> logits) {
  TESSERA_ASSIGN(const TokenId id, sampler_.next(logits));
  answer_.ids.push_back(id);
  ++answer_.stats.generated_tokens;
  ++position_;
  draft.reset();
  if (std::ranges::find(request_->end_tokens, id) != request_->end_tokens.end()) {
    finish(FinishReason::end_token);
    return {};
  }
  give(id, detokenizer_ ? stops_.push(detokenizer_->push(id)) : std::string());
  if (const std::string* stop = stops_.matched()) {
    answer_.stop_text = *stop;
    finish(FinishReason::stop_text);
  } else if (answer_.stats.generated_tokens == request_->max_new_tokens) {
    finish(FinishReason::length);
  } else if (position_ >= context_) {
    finish(FinishReason::context);
  }
  return {};
}

void AnswerWriter::finish(FinishReason reason) {
  active_ = false;
  answer_.finish = reason;
  if (!detokenizer_) return;
  std::string rest = stops_.push(detokenizer_->finish());
  rest += stops_.finish();
  if (!rest.empty()) give(-1, rest);
}

void AnswerWriter::give(TokenId id, std::string_view text) {
  answer_.text += text;
  if (hooks_->on_token) hooks_->on_token(index_, id, text);
}

}  // namespace tessera::engine
