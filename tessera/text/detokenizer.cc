// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/detokenizer.h"

#include <utility>

#include "tessera/text/utf8.h"

namespace tessera::text {

std::string Detokenizer::push(TokenId id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  pending_ += tokenizer_->token_bytes(id);
  std::string complete;
  size_t done = 0;
  while (done < pending_.size()) {
    const std::string_view rest = std::string_view(pending_).substr(done);
    const Utf8Step step = next_utf8(rest);
    if (step.kind == Utf8Kind::incomplete) break;
    complete += step.kind == Utf8Kind::valid ? rest.substr(0, step.length) : kReplacementCharacter;
    done += step.length;
  }
  pending_.erase(0, done);
  return complete;
}

std::string Detokenizer::finish() { return replace_invalid_utf8(std::exchange(pending_, {})); }

}  // namespace tessera::text
