// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/verification/subject.h"

#include "tessera/base/element.h"
#include "tessera/model/deepseek_v4/model.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"

namespace tessera::model::deepseek_v4 {
namespace {

Result<Rows> copy(Result<std::span<const float>> logits, int64_t columns) {
  if (!logits.ok()) return std::move(logits).error();
  return Rows(columns, {logits->begin(), logits->end()});
}

}  // namespace

int64_t ModelSubject::largest_step() const { return model_.options().largest_step; }

int64_t ModelSubject::most_exact_rows() const {
  return ops::gemm::most_exact_rows(model_.capabilities());
}

Result<Rows> ModelSubject::step(const Span& span) {
  return copy(model_.step(std::span(&span, 1)), model_.config().vocab_size);
}

Result<Rows> ModelSubject::draft(const Span& span) {
  return copy(model_.draft(std::span(&span, 1)), model_.config().vocab_size);
}

Result<Rows> ModelSubject::layer(size_t index, const Span& span, const Rows& stream) {
  const DType type = model_.activation();
  const int64_t count = std::ssize(stream.values);
  std::vector<std::byte> bytes(static_cast<size_t>(size_in_bytes(type, count)));
  for (int64_t i = 0; i < count; ++i)
    store_from_double(type, bytes.data(), i, stream.values[static_cast<size_t>(i)]);
  TESSERA_ASSIGN(bytes, model_.run_layers(index, index + 1, std::span(&span, 1), bytes));
  Rows out(stream.columns);
  for (int64_t i = 0; i < count; ++i) out.values.push_back(load_as_float(type, bytes.data(), i));
  return out;
}

}  // namespace tessera::model::deepseek_v4
