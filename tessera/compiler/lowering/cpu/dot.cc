// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot.h"

#include <algorithm>

#include "tessera/compiler/lowering/cpu/dot_amx.h"
#include "tessera/compiler/lowering/cpu/dot_digits.h"
#include "tessera/compiler/lowering/cpu/dot_outer.h"
#include "tessera/compiler/lowering/cpu/dot_plain.h"
#include "tessera/compiler/lowering/cpu/dot_rows.h"
#include "tessera/compiler/lowering/cpu/dot_tile.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;

constexpr int64_t kFewRows = 8;
constexpr int64_t kBlock = 1024;  // elements of K that a decoded block of operand b spans

int64_t stepOf(Emitter& e, DType dtype, DotForm form, int64_t lanes) {
  return Decoder(e, dtype, form, lanes).step();
}

struct Form {
  DotForm form;
  int64_t lanes;
};

bool bf16Works(const CpuTarget& target, const DotTask& task) {
  if (!target.hasBf16Dot || task.a.dtype == DType::f32 || task.a.dtype == DType::i8) return false;
  // Narrow scale groups meet whole vectors only for f4, whose lanes hold eight neighbours each.
  const int64_t group = task.bScale ? groupOf(*task.bScale, task.k) : task.k;
  switch (task.b.dtype) {
    case DType::bf16: return true;
    case DType::f8e4m3: return target.lanes == 16 && task.k % 64 == 0 && group % 64 == 0;
    default: return target.lanes == 16 && task.k % 128 == 0 && (!task.bScale || group >= 8);
  }
}

/// Form and lanes in which the whole k of the task is a number of decoding steps.
Form chooseForm(Emitter& e, const DotTask& task) {
  if (task.a.dtype == DType::i8) {
    int64_t lanes = e.target.lanes;
    while (lanes > 1 && task.k % (2 * lanes) != 0) lanes /= 2;
    return {DotForm::kI16, lanes};
  }
  if (bf16Works(e.target, task)) {
    int64_t lanes = e.target.lanes;
    while (lanes >= 4 && task.k % stepOf(e, task.b.dtype, DotForm::kBf16, lanes) != 0) lanes /= 2;
    if (lanes >= 4) return {DotForm::kBf16, lanes};
  }
  int64_t lanes = e.target.lanes;
  while (lanes > 1 && task.k % stepOf(e, task.b.dtype, DotForm::kF32, lanes) != 0) lanes /= 2;
  return {DotForm::kF32, lanes};
}

/// Decodes b block by block into scratch and multiplies blocks of registers.
void emitBlocked(Emitter& e, const DotTask& task, Decoder& decoder, const DotRows& a) {
  const int64_t block = std::min(task.k, kBlock);
  const bool ready = isReady(task, task.b, task.bScale.has_value(), decoder);
  const DotRows scratch = ready ? DotRows{} : scratchRows(e, decoder.form(), task.n, block);
  const auto fast = [&] {
    for (int64_t first = 0; first < task.k; first += block) {
      const DotRows b = prepareB(e, task, decoder, e.i64(first), block, scratch);
      const DotRows aBlock = {e.offset(a.base, first * bytesOf(decoder.form())), a.stride};
      // The block of b that is wanted next, most likely: the same rows further along K.
      llvm::SmallVector<DotAhead> ahead;
      if (task.b.inView) {
        const int64_t bytes = size_in_bytes(task.b.dtype, block);
        const Value next = e.offset(task.b.pointer, size_in_bytes(task.b.dtype, first + block));
        ahead.push_back({{next, task.b.rowStride}, task.n, bytes});
      }
      emitTile(e, decoder.form(), decoder.lanes(), task.m, task.n, block, aBlock, b,
               task.accumulator, task.usedRows, ahead);
    }
  };
  whereFoldIsExact(e, task, decoder, fast, [&] { emitElements(e, task, &decoder, &a); });
}

}  // namespace

bool wantsPartialSums(const CpuTarget& target, const DotTask& task) {
  if (task.bIsKn || task.a.dtype == DType::i8 || task.m > kFewRows) return false;
  if (task.m * task.n > target.registers / 2) return false;
  // Whole vectors of the widest decoding step, and scales that allow them.
  const int64_t step = task.b.dtype == DType::f4e2m1 ? 8 : task.b.dtype == DType::f8e4m3 ? 4 : 2;
  if (task.k % (step * target.lanes) != 0) return false;
  return !task.bScale || groupOf(*task.bScale, task.k) >= 8;
}

void emitDot(Emitter& e, const DotTask& original) {
  if (emitPlainTiles(e, original)) return;
  DotTask task = original;
  if (task.bIsKn) {
    if (task.reuse) task.reuse->load(task);
    return emitOuter(e, task);
  }
  if (suitsDigits(e.target, task)) return emitDigits(e, task);
  const Form form = chooseForm(e, task);
  Decoder decoder(e, task.b.dtype, form.form, form.lanes);
  if (task.layout == DotTask::Accumulator::kTransposed) return emitTiles(e, task, decoder);
  const bool whole = task.k % decoder.step() == 0;
  const bool few = task.m <= kFewRows || task.layout == DotTask::Accumulator::kPartial;
  const bool lanesFit =
      task.layout == DotTask::Accumulator::kPlain || decoder.lanes() == e.target.lanes;
  const bool taken = few ? fewRowsTakes(task, decoder) && lanesFit : canPrepareB(task, decoder);
  if (!whole || !taken || !canPack(task.aScale, task.k, decoder.lanes())) {
    if (task.reuse) task.reuse->load(task);
    return emitElements(e, task, nullptr, nullptr);
  }
  const DotRows a = packA(e, task, decoder);
  if (few)
    emitFewRows(e, task, decoder, a);
  else
    emitBlocked(e, task, decoder, a);
}

}  // namespace tessera::compiler::cpu
