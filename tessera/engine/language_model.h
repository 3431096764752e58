// SPDX-License-Identifier: Apache-2.0
// What the engine needs of a model: tokens in, logits out, and caches that are addressed by
// position.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "tessera/base/result.h"
#include "tessera/text/added_tokens.h"

namespace tessera::engine {

using text::TokenId;

/// Consecutive tokens of one sequence.
struct TokenSpan {
  int32_t sequence = 0;
  int64_t position = 0;  // of the first token
  std::span<const TokenId> tokens;
  bool all_logits = false;  // logits are wanted of every row, not of the last one only
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual int64_t vocabulary() const = 0;
  /// Positions that a sequence can have.
  virtual int64_t context() const = 0;
  /// Sequences that can be held at once.
  virtual int32_t sequences() const = 0;
  /// Most tokens of all spans of a step together.
  virtual int64_t largest_step() const = 0;
  /// A step may begin this many positions before the highest one its sequence has seen, and at 0.
  virtual int64_t rollback() const = 0;
  /// Whether draft() can be called.
  virtual bool drafts() const = 0;

  /// Whether save() can be called.
  virtual bool snapshots() const = 0;
  /// Keeps what the sequence needs to go on from where it stands: restore() brings it back there
  /// however far it went meanwhile, with the rollback it had. Ends with the next save() of the
  /// sequence and with a step that begins before that position.
  virtual Result<> save(int32_t sequence) = 0;
  virtual Result<> restore(int32_t sequence) = 0;
  /// Where restore() leads.
  virtual std::optional<int64_t> saved(int32_t sequence) const = 0;

  /// Runs all spans, each sequence at most once. Logits [rows wanted, vocabulary] in the order of
  /// the spans, valid until the next call.
  virtual Result<std::span<const float>> step(std::span<const TokenSpan> spans) = 0;

  /// Proposes tokens. A span names rows of the last step by their positions; its tokens are those
  /// that follow them, so the logits, given as by step(), are those of the token after the next.
  virtual Result<std::span<const float>> draft(std::span<const TokenSpan> spans) = 0;
};

}  // namespace tessera::engine
