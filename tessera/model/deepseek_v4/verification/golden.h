// SPDX-License-Identifier: Apache-2.0
// Prompts with what another implementation computed from them, in safetensors files. For each
// prompt NAME ("prompt_33", the number is its length), L tokens, S decode steps, V the vocabulary:
//
//   NAME.ids                       i32 [L]
//   NAME.fp32.greedy_ids           i32 [S]     greedy decoding; the tokens of all decode steps
//   NAME.fp32.logits               f32 [R, V]  of the last R <= L positions, nothing rounded
//   NAME.fp32.greedy_logits        f32 [S, V]  after each of greedy_ids
//   NAME.native.last_logits        f32 [V]     of the last position, the official roundings
//   NAME.native.forced_logits      f32 [S, V]
//   NAME.native.mtp_last_logits    f32 [V]     of the draft block; may be absent
//
// and in a file of layers, native, the residual stream into layer i (the last: after all layers):
//
//   NAME.native.prefill.h.i        bf16 [L, 4, D]
//   NAME.native.stepJ.h.i          bf16 [1, 4, D]  for the first decode steps
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/precision.h"
#include "tessera/model/deepseek_v4/verification/rows.h"

namespace tessera::model::deepseek_v4 {

/// Whose numbers are expected: those without rounding, or those of the official code.
enum class Numbers : uint8_t { fp32, native };

constexpr std::string_view name(Numbers numbers) {
  return numbers == Numbers::fp32 ? "fp32" : "native";
}
/// What files hold for a precision.
constexpr Numbers numbers_for(Precision precision) {
  return precision == Precision::fp32 || precision == Precision::bf16 ? Numbers::fp32
                                                                      : Numbers::native;
}

/// Residual streams of a prompt; the data stays in the mapped file.
struct LayerTrace {
  std::vector<const checkpoint::Tensor*> prefill;             // [layers + 1], each [L, 4, D]
  std::vector<std::vector<const checkpoint::Tensor*>> steps;  // each as prefill, [1, 4, D]
};

struct Prompt {
  std::string name;
  std::vector<int32_t> ids;
  std::vector<int32_t> greedy_ids;
  Rows logits;  // of the last positions
  Rows steps;   // after each of greedy_ids
  Rows draft;   // of the draft block at the last position; may be empty
  LayerTrace trace;

  int64_t length() const { return std::ssize(ids); }
  /// Positions that the prompt and its steps take.
  int64_t positions() const { return std::ssize(ids) + std::ssize(greedy_ids); }
};

/// Whether a file holds such numbers of any prompt.
bool has_numbers(const checkpoint::Checkpoint& file, Numbers numbers);

/// All prompts of a file, the shortest first. Errors: not_found for a missing tensor; corrupt for
/// shapes, types and tokens that do not fit each other; invalid_argument for those that do not fit
/// the model: another vocabulary, more positions than it has.
Result<std::vector<Prompt>> read_prompts(const checkpoint::Checkpoint& file, Numbers numbers,
                                         const Config& config);

/// Sets the traces of the prompts that `file` has some of; it must stay open. Errors as above, and
/// corrupt when it has none or one of another prompt.
Result<> read_traces(const checkpoint::Checkpoint& file, const Config& config,
                     std::vector<Prompt>& prompts);

/// The values of a tensor of floats, as rows of so many columns.
Rows read_rows(const checkpoint::Tensor& tensor, int64_t columns);

/// Prompts of `lengths` made-up tokens, the same ones every time, without numbers.
std::vector<Prompt> made_prompts(std::span<const int64_t> lengths, const Config& config);

}  // namespace tessera::model::deepseek_v4
