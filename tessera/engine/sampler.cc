// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/base/philox.h"

namespace tessera::engine {
namespace {

Result<> check_range(std::string_view what, double value, double low, double high,
                     std::string_view range) {
  if (value >= low && value <= high) return {};  // false for NaN
  return invalid_argument(fmt::format("{} is {}, expected {}", what, value, range));
}

}  // namespace

Result<> SamplingOptions::check() const {
  TESSERA_TRY(check_range("temperature", temperature, 0, 100, "0 (the likeliest token) to 100"));
  TESSERA_TRY(check_range("top-p", top_p, 0x1p-30, 1, "above 0 and up to 1"));
  TESSERA_TRY(check_range("top-k", static_cast<double>(top_k), 0, 0x1p31, "0 (all) or more"));
  TESSERA_TRY(check_range("min-p", min_p, 0, 1, "0 to 1"));
  TESSERA_TRY(check_range("repetition penalty", repetition_penalty, 0x1p-10, 0x1p10,
                          "above 0, with 1 for none"));
  TESSERA_TRY(check_range("frequency penalty", frequency_penalty, -100, 100, "-100 to 100"));
  return check_range("presence penalty", presence_penalty, -100, 100, "-100 to 100");
}

Result<TokenId> likeliest(std::span<const float> logits) {
  TokenId best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]))
      return make_error(ErrorCode::corrupt,
                        fmt::format("the logit of token {} is no number (NaN); check the "
                                    "checkpoint with `tessera inspect DIR --check`",
                                    i));
    if (logits[i] > logits[static_cast<size_t>(best)]) best = static_cast<TokenId>(i);
  }
  return best;
}

Sampler::Sampler(const SamplingOptions& options, std::span<const TokenId> prompt)
    : options_(options) {
  if (options_.repetition_penalty != 1)
    for (const TokenId id : prompt) seen_.try_emplace(id);
}

Result<TokenId> Sampler::next(std::span<const float> logits) {
  if (options_.has_penalties()) {
    apply_penalties(logits);
    logits = penalised_;
  }
  TESSERA_ASSIGN(TokenId id, likeliest(logits));
  if (options_.temperature > 0) id = draw(logits, logits[static_cast<size_t>(id)]);
  ++step_;
  if (options_.has_penalties()) ++seen_[id];
  return id;
}

void Sampler::apply_penalties(std::span<const float> logits) {
  penalised_.assign(logits.begin(), logits.end());
  for (const auto& [id, generated] : seen_) {
    if (static_cast<size_t>(id) >= penalised_.size()) continue;
    double logit = penalised_[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    if (generated > 0)
      logit -=
          options_.presence_penalty + options_.frequency_penalty * static_cast<double>(generated);
    penalised_[static_cast<size_t>(id)] = static_cast<float>(logit);
  }
}

TokenId Sampler::draw(std::span<const float> logits, float highest) {
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const double weight =
        std::exp((static_cast<double>(logits[i]) - highest) / options_.temperature);
    if (weight > 0 && weight >= options_.min_p)
      candidates_.push_back({static_cast<TokenId>(i), logits[i], weight});
  }
  keep_top_k();
  keep_top_p();
  // Each candidate runs an exponential race; the order of candidates does not matter.
  const uint64_t key = options_.seed ^ (step_ << 32);
  double best = -1;
  TokenId winner = 0;
  for (const Candidate& c : candidates_) {
    const double u = ((philox_bits(static_cast<uint32_t>(c.id), key) >> 9) + 0.5) * 0x1p-23;
    const double score = c.weight / -std::log1p(-u);
    if (score > best || (score == best && c.id < winner)) {
      best = score;
      winner = c.id;
    }
  }
  return winner;
}

void Sampler::keep_top_k() {
  const auto k = static_cast<size_t>(options_.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end());
  candidates_.resize(k);
}

void Sampler::keep_top_p() {
  if (options_.top_p >= 1) return;
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  // Few are kept as a rule: no more are sorted than that takes.
  double sum = 0;
  for (size_t sorted = 0, block = 256; sorted < candidates_.size(); block *= 8) {
    const size_t end = std::min(sorted + block, candidates_.size());
    const auto at = [&](size_t i) { return candidates_.begin() + static_cast<ptrdiff_t>(i); };
    std::partial_sort(at(sorted), at(end), candidates_.end());
    for (; sorted < end; ++sorted) {
      sum += candidates_[sorted].weight;
      if (sum >= options_.top_p * total) return candidates_.resize(sorted + 1);
    }
  }
}

}  // namespace tessera::engine
