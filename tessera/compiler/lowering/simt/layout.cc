// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/layout.h"

#include <algorithm>

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

namespace tessera::compiler::simt {

using lang::TileShape;

int64_t Layout::registerOffset(int64_t number) const {
  int64_t offset = 0;
  for (auto [i, bit] : llvm::enumerate(registers))
    if ((number >> i) & 1) offset |= int64_t{1} << bit;
  return offset;
}

int64_t Layout::registerOf(int64_t position) const {
  int64_t number = 0;
  for (auto [i, bit] : llvm::enumerate(registers))
    if ((position >> bit) & 1) number |= int64_t{1} << i;
  return number;
}

bool Layout::inRegister(int bit) const { return llvm::is_contained(registers, bit); }

int Layout::threadBitOf(int bit) const {
  const auto* found = llvm::find(threads, bit);
  return found == threads.end() ? -1 : static_cast<int>(found - threads.begin());
}

int Layout::consecutive() const {
  int count = 0;
  while (count < static_cast<int>(registers.size()) && registers[count] == count) ++count;
  return count;
}

std::string Layout::toString() const {
  std::string text = "threads [";
  for (auto [i, bit] : llvm::enumerate(threads))
    text += (i ? " " : "") + (bit == kCopies ? "-" : std::to_string(bit));
  text += "] registers [";
  for (auto [i, bit] : llvm::enumerate(registers)) text += (i ? " " : "") + std::to_string(bit);
  return text + "]";
}

Layout Layout::renamed(llvm::function_ref<int(int)> to) const {
  Layout result;
  for (int bit : threads) result.threads.push_back(bit == kCopies ? kCopies : to(bit));
  for (int bit : registers)
    if (const int renamed = to(bit); renamed >= 0) result.registers.push_back(renamed);
  llvm::sort(result.registers);
  return result;
}

Layout Layout::withRegister(int bit) const {
  Layout result = *this;
  result.registers.push_back(bit);
  llvm::sort(result.registers);
  return result;
}

Layout Layout::withLowest(int count, int laneBits) const {
  Layout to = *this;
  for (int bit = 0; bit < count; ++bit) {
    const int thread = threadBitOf(bit);
    const auto given = llvm::find_if(to.registers, [&](int own) { return own >= count; });
    if (inRegister(bit) || thread < 0 || thread >= laneBits || given == to.registers.end())
      continue;
    to.threads[static_cast<size_t>(thread)] = *given;
    to.registers.erase(given);
    to = to.withRegister(bit);
  }
  return to;
}

int bitCount(const TileShape& shape, int dim) { return llvm::Log2_64(shape[dim]); }

int firstBit(const TileShape& shape, int dim) {
  int bit = 0;
  for (int d = shape.rank() - 1; d > dim; --d) bit += bitCount(shape, d);
  return bit;
}

Layout Layout::withRowsInWarps(int count, int laneBits) const {
  Layout result = *this;
  for (int t = laneBits; t < static_cast<int>(threads.size()); ++t) {
    if (threads[t] == kCopies || threads[t] >= count) continue;
    const auto spare = llvm::find_if(result.registers, [&](int bit) { return bit >= count; });
    if (spare == result.registers.end()) return *this;
    result.threads[t] = *spare;
    result.registers.erase(spare);
    result = result.withRegister(threads[t]);
  }
  return result;
}

int positionBits(const TileShape& shape) { return llvm::Log2_64(shape.numel()); }

namespace {

struct Place {
  int dim, bit;  // bit of the index along the dimension
};
Place placeOf(const TileShape& shape, int bit) {
  int dim = shape.rank() - 1;
  for (; bit >= bitCount(shape, dim); --dim) bit -= bitCount(shape, dim);
  return {dim, bit};
}

}  // namespace

Layout blockedLayout(const TileShape& shape, int threadBits, int vector, int leastVector) {
  const int bits = positionBits(shape);
  const int last = shape.rank() == 0 ? 0 : bitCount(shape, shape.rank() - 1);
  const int inThread =
      std::min(last, std::max(leastVector, std::min(vector, std::max(0, bits - threadBits))));
  Layout layout;
  for (int bit = 0; bit < inThread; ++bit) layout.registers.push_back(bit);
  for (int t = 0; t < threadBits; ++t)
    layout.threads.push_back(inThread + t < bits ? inThread + t : Layout::kCopies);
  for (int bit = inThread + threadBits; bit < bits; ++bit) layout.registers.push_back(bit);
  return layout;
}

Layout outerProductLayout(const TileShape& shape, int threadBits) {
  const int columns = bitCount(shape, 1), rows = bitCount(shape, 0);
  const int inThread = std::max(0, columns + rows - threadBits);
  const int columnRegisters = std::min({columns, 3, (inThread + 1) / 2});
  const int rowRegisters = std::min(rows, inThread - columnRegisters);
  Layout layout;
  for (int bit = 0; bit < columnRegisters; ++bit) layout.registers.push_back(bit);
  for (int bit = columnRegisters; bit < columns + rows - rowRegisters; ++bit) {
    if (static_cast<int>(layout.threads.size()) < threadBits)
      layout.threads.push_back(bit);
    else
      layout.registers.push_back(bit);
  }
  for (int bit = columns + rows - rowRegisters; bit < columns + rows; ++bit)
    layout.registers.push_back(bit);
  layout.threads.resize(threadBits, Layout::kCopies);
  return layout;
}

int Reduced::operator()(int bit) const {
  return Closed{firstBit(shape, axis), bitCount(shape, axis)}(bit);
}

int Transposed::operator()(int bit) const {
  const Place at = placeOf(source, bit);
  TileShape result;
  for (int64_t d : permutation) result.push_back(source[static_cast<int>(d)]);
  const int dim = static_cast<int>(llvm::find(permutation, at.dim) - permutation.begin());
  return firstBit(result, dim) + at.bit;
}

int Stretched::operator()(int bit) const {
  const Place at = placeOf(result, bit);
  const int dim = at.dim - (result.rank() - source.rank());
  return dim < 0 || source[dim] == 1 ? -1 : firstBit(source, dim) + at.bit;
}

int Grouped::operator()(int bit) const {
  const Place at = placeOf(matrix, bit);
  const int group = bitCount(matrix, at.dim) - bitCount(scales, at.dim);
  return at.bit < group ? -1 : firstBit(scales, at.dim) + at.bit - group;
}

int64_t Grouped::position(int64_t element) const {
  int64_t scale = 0;
  for (int bit = 0; element >> bit != 0; ++bit)
    if (const int to = (*this)(bit); ((element >> bit) & 1) && to >= 0) scale |= int64_t{1} << to;
  return scale;
}

}  // namespace tessera::compiler::simt
