// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/matrix_loop.h"

#include <algorithm>

#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/simt/carried_product.h"
#include "tessera/compiler/lowering/simt/cooperative_matrix.h"
#include "tessera/compiler/lowering/simt/half_pairs.h"
#include "tessera/compiler/lowering/simt/read_only.h"

namespace tessera::compiler::simt {

using lang::TileShape;
using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kAccessBytes = 16;
constexpr int kMostWarpBits = 3;                      // of few rows
constexpr int64_t kScaledRows = 128, kScaledK = 128;  // of a tile whose sums are scaled
constexpr int64_t kMostColumnsApart = 128;            // both kinds of sums fit the registers
constexpr int64_t kMostBoxRows = 256;
/// Rows and columns of a block of cooperative matrices, and the subgroups there should be before
/// they are as large as can be: of 64 x 64 a lane has 128 sums.
constexpr int64_t kLeastBlock = 32, kMostBlock = 64, kWantedGroups = 8;
constexpr int64_t kMostColumns = 256;
constexpr int64_t kLeastStages = 2, kMostStages = 8;
/// log2 of the threads that fill stages: one warpgroup can copy as fast as others multiply, not
/// decode.
constexpr int kCopierBits = 7, kDecoderBits = 8;
/// Sums of a thread beside which a second warpgroup that decodes leaves registers enough, with one
/// warpgroup that multiplies and with two.
constexpr int64_t kMostPaired = 128, kMostPairedOfTwo = 32;
/// Of workgroup memory left for what comes before and after the loops.
constexpr int64_t kOtherBytes = 8192;

DType operandType(Operation* operand) { return tile::dtypeOf(operand->getResult(0)); }

bool exactInBf16(Operation* operand) {
  const DType dtype = operandType(operand);
  return dtype == DType::bf16 || dtype == DType::f8e4m3 || dtype == DType::f4e2m1;
}

/// The tile that is widened to f32 to make this one, if that is all that makes it.
Value narrowed(Value tile) {
  auto cast = tile.getDefiningOp<CastOp>();
  const bool widens =
      cast && tile::dtypeOf(tile) == DType::f32 && tile::dtypeOf(cast.getX()) == DType::bf16;
  return widens ? cast.getX() : tile;
}

/// What brings the tile in this turn of the loop, if it is a load of what nobody writes.
Operation* loadedHere(Value tile, ForOp loop) {
  Operation* op = tile ? tile.getDefiningOp() : nullptr;
  const bool here = op && op->getBlock() == &loop.getBody().front();
  return here && isReadOnly(op) ? op : nullptr;
}

/// Elements of a row that have one scale; `scale` may be null.
int64_t scaledTogether(Operation* operand, Operation* scale) {
  const int64_t elements = shapeOf(operand->getResult(0))[1];
  return scale ? elements / shapeOf(scale->getResult(0))[1] : elements;
}

bool hasParts(const MatrixLoop& loop) {
  return MatrixLoop::parts(loop.a) > 1 || MatrixLoop::parts(loop.b) > 1;
}

int64_t stagesOf(const MatrixLoop& loop, const SimtTarget& target) {
  return (target.sharedBytes - kOtherBytes) / loop.stageBytes();
}

/// Whether an operation of the loop is arithmetic on elements of a, on what was made of them, and
/// on carried tiles of the same shape.
bool isBeside(Operation* op, const MatrixLoop& loop) {
  if (!isElementwise(op) || shapeOf(op->getResult(0)) != shapeOf(loop.a->getResult(0)))
    return false;
  return llvm::all_of(op->getOperands(), [&](Value x) {
    if (isScalar(x)) return false;
    Operation* from = x.getDefiningOp();
    if (from == nullptr) return x.getParentBlock() == op->getBlock();
    return from == loop.a || llvm::is_contained(loop.beside, from);
  });
}

/// Sorts the loop's operations; false where there is one that is none of it.
bool collectBeside(MatrixLoop& loop) {
  for (Operation& op : loop.loop.getBody().front().without_terminator()) {
    const bool scalar = op.getNumResults() == 1 && isScalar(op.getResult(0));
    const auto products = loop.products();
    const auto isPart = [&](const MatrixLoop::Product& product) {
      return llvm::is_contained({product.dot, product.b, product.bScale}, &op);
    };
    const auto multiplies = [&](Operation* user) {
      return llvm::any_of(products, [&](const auto& product) { return product.dot == user; });
    };
    if (scalar || &op == loop.a || &op == loop.aScale || llvm::any_of(products, isPart)) continue;
    if (llvm::isa<CastOp>(op) && llvm::all_of(op.getUsers(), multiplies)) continue;
    if (!isBeside(&op, loop)) return false;
    loop.beside.push_back(&op);
  }
  return llvm::all_of(loop.loop.yielded().drop_front(1 + loop.others.size()), [&](Value tile) {
    return llvm::is_contained(loop.beside, tile.getDefiningOp());
  });
}

bool fitsRows(const MatrixLoop& loop) {
  if (hasParts(loop) || !loop.beside.empty() || (!loop.others.empty() && !loop.oneRow()))
    return false;
  const int64_t access = RowsPlan::accessOf(operandType(loop.b));
  // The instruction's 16 rows may be those of two products.
  const auto rows = loop.n * static_cast<int64_t>(loop.products().size());
  return loop.n % 8 == 0 && rows % 16 == 0 && loop.others.size() <= 1 && loop.k >= 4 * access;
}

/// Whether a tile can be made from what nobody writes, by any thread in any layout.
bool isMadeAnywhere(Value tile) {
  if (isScalar(tile)) return true;
  Operation* op = tile.getDefiningOp();
  if (!op) return false;
  if (llvm::isa<LoadOp>(op)) return isReadOnly(op);
  return (isElementwise(op) || llvm::isa<ConstantOp, IotaOp, BroadcastOp>(op)) &&
         llvm::all_of(op->getOperands(), isMadeAnywhere);
}

/// Whether e4m3 may be multiplied as it is: each turn is one block of scales.
bool fitsScaledSums(const MatrixLoop& loop) {
  const auto oneBlock = [](Operation* scale) {
    return !scale || shapeOf(scale->getResult(0))[1] == 1;
  };
  const DType b = operandType(loop.b);
  const bool fits =
      (b == DType::f8e4m3 && oneBlock(loop.bScale)) ||
      (b == DType::f4e2m1 && loop.bScale && loop.n == kMostColumnsApart &&
       shapeOf(loop.bScale->getResult(0)) == TileShape{loop.n, loop.k / RowsPlan::accessOf(b)});
  return fits && operandType(loop.a) == DType::f8e4m3 && loop.rows() >= kScaledRows &&
         loop.columns() <= kMostColumnsApart && loop.k == kScaledK && oneBlock(loop.aScale);
}

bool fitsTiles(const MatrixLoop& loop, const SimtTarget& target) {
  if (loop.k % loop.panel() != 0 || (loop.rows() != 64 && loop.rows() != 128) ||
      loop.columns() < 8 || loop.columns() > kMostColumns || stagesOf(loop, target) < kLeastStages)
    return false;
  if (hasParts(loop) && loop.columns() > kMostColumnsApart) return false;
  if (!loop.others.empty()) return false;
  if (!loop.beside.empty() && !loop.isPlain(loop.a)) return false;
  for (Operation* load : {loop.a, loop.b, loop.aScale, loop.bScale})
    if (auto gather = llvm::dyn_cast_or_null<GatherOp>(load))
      if (!isMadeAnywhere(gather.getRows())) return false;
  // The threads that fill the stages go through the same branches and loops.
  for (Operation* op = loop.loop->getParentOp(); !llvm::isa<KernelOp>(op); op = op->getParentOp())
    if (op->getNumResults() != 0) return false;
  return true;
}

bool fitsCooperative(const MatrixLoop& loop, const SimtTarget& target) {
  // The elements of a word have one scale.
  const auto scaledByWords = [](Operation* operand, Operation* scale) {
    return scaledTogether(operand, scale) * bits(operandType(operand)) >= 32;
  };
  if (!scaledByWords(loop.a, loop.aScale) || !scaledByWords(loop.b, loop.bScale)) return false;
  if (hasParts(loop) || !loop.beside.empty() || !loop.others.empty() || loop.m % kLeastBlock != 0 ||
      loop.n % kLeastBlock != 0 || loop.k % CooperativeMatrix::kSize != 0)
    return false;
  const CooperativePlan plan = cooperativePlan(loop);
  const int64_t words = std::max(plan.stageWords, plan.sumWords());
  return plan.groups() << CooperativeMatrix::kLaneBits <= target.threads &&
         4 * words <= target.sharedBytes - kOtherBytes;
}

bool fits(const MatrixLoop& loop, const SimtTarget& target) {
  if (loop.cooperative) return fitsCooperative(loop, target);
  if (loop.fewRows()) return fitsRows(loop);
  return target.matrix == MatrixUnit::kWgmma && fitsTiles(loop, target);
}

using Which = llvm::function_ref<bool(const MatrixLoop&)>;
bool holds(Operation* op, const SimtTarget& target, Which which) {
  return op
      ->walk([&](ForOp inner) {
        const auto loop = matchMatrixLoop(inner, target);
        return loop && which(*loop) ? mlir::WalkResult::interrupt() : mlir::WalkResult::advance();
      })
      .wasInterrupted();
}

/// The product of tiles read in each turn that a loop adds to one of those it carries.
std::optional<MatrixLoop> productOf(ForOp loop, size_t carried) {
  const auto product = carriedProduct(loop, carried);
  if (!product) return std::nullopt;
  MatrixLoop found;
  found.loop = loop;
  found.dot = product->dot;
  found.a = loadedHere(narrowed(product->a), loop);
  found.b = loadedHere(narrowed(product->b), loop);
  found.aScale = loadedHere(product->aScale, loop);
  found.bScale = loadedHere(product->bScale, loop);
  const auto isF32 = [](Operation* operand) { return MatrixLoop::parts(operand) > 1; };
  if (!found.a || !found.b || (!exactInBf16(found.a) && !isF32(found.a)) ||
      (!exactInBf16(found.b) && !isF32(found.b)) ||
      (product->aScale && (!found.aScale || operandType(found.aScale) != DType::f8e8m0)) ||
      (product->bScale && (!found.bScale || operandType(found.bScale) != DType::f8e8m0)))
    return std::nullopt;
  return found;
}

/// Whether two products differ in what they read of b alone.
bool isAlike(const MatrixLoop& x, const MatrixLoop& y) {
  const auto type = [](Operation* op) { return op ? op->getResult(0).getType() : mlir::Type(); };
  return x.a == y.a && x.aScale == y.aScale && type(x.b) == type(y.b) &&
         type(x.bScale) == type(y.bScale);
}

bool inPipeline(const MatrixLoop& loop) { return !loop.cooperative && !loop.fewRows(); }

/// Of few rows, not of one.
void chooseHalves(MatrixLoop& loop, const SimtTarget& target) {
  if (!loop.fewRows() || loop.oneRow() || !hasPairsOfHalf(target.arithmetic) ||
      operandType(loop.a) != DType::f8e4m3 || !loop.scalesRowSums(loop.a))
    return;
  loop.lanesTrade = operandType(loop.b) == DType::f4e2m1 && loop.bScale &&
                    scaledTogether(loop.b, loop.bScale) == RowsPlan::accessOf(DType::f4e2m1);
  loop.halves =
      loop.lanesTrade || (operandType(loop.b) == DType::f8e4m3 && loop.scalesRowSums(loop.b));
}

}  // namespace

int64_t RowsPlan::accessOf(DType b) { return 8 * kAccessBytes / bits(b); }

bool MatrixLoop::widensCodes() const { return scalesSums() && operandType(b) == DType::f4e2m1; }

bool MatrixLoop::scalesRowSums(Operation* operand) const {
  return scaledTogether(operand, operand == a ? aScale : bScale) >=
         4 * RowsPlan::accessOf(operandType(b));
}

bool MatrixLoop::oneRow() const {
  const int64_t access = RowsPlan::accessOf(operandType(b));
  const auto fits = [&](Operation* operand, Operation* scale) {
    const int64_t elements = scaledTogether(operand, scale);
    return elements >= 4 * access || (elements == access && shapeOf(operand->getResult(0))[0] ==
                                                                shapeOf(scale->getResult(0))[0]);
  };
  return m == 1 && fits(a, aScale) && fits(b, bScale);
}

llvm::SmallVector<MatrixLoop::Product> MatrixLoop::products() const {
  llvm::SmallVector<Product> all = {{dot, b, bScale}};
  llvm::append_range(all, others);
  return all;
}

std::optional<MatrixLoop> matchMatrixLoop(ForOp loop, const SimtTarget& target) {
  if (target.matrix == MatrixUnit::kNone || loop.getInits().empty()) return std::nullopt;
  auto first = productOf(loop, 0);
  if (!first) return std::nullopt;
  MatrixLoop found = std::move(*first);
  for (size_t carried = 1; carried < loop.getInits().size(); ++carried) {
    const auto other = productOf(loop, carried);
    if (!other || !isAlike(*other, found)) break;
    found.others.push_back({other->dot, other->b, other->bScale});
  }
  if (!collectBeside(found)) return std::nullopt;
  const TileShape a = shapeOf(found.dot->getOperand(0)), b = shapeOf(found.dot->getOperand(1));
  found.m = a[0], found.n = b[0], found.k = a[1];
  found.cooperative = target.matrix == MatrixUnit::kCooperative;
  if (target.matrix == MatrixUnit::kWgmma) found.mostFewRows = 16;
  if (!found.cooperative && !found.fewRows() && fitsScaledSums(found))
    found.multiplied = DType::f8e4m3;
  chooseHalves(found, target);
  // Both elements of a pair have one scale.
  if (!fits(found, target) || scaledTogether(found.a, found.aScale) < 2 ||
      scaledTogether(found.b, found.bScale) < 2)
    return std::nullopt;
  return found;
}

std::optional<MatrixLoop> matrixLoopOf(Operation* dot, const SimtTarget& target) {
  auto loop = llvm::dyn_cast<ForOp>(dot->getParentOp());
  if (!loop) return std::nullopt;
  auto found = matchMatrixLoop(loop, target);
  if (!found || llvm::none_of(found->products(), [&](const auto& p) { return p.dot == dot; }))
    return std::nullopt;
  return found;
}

/// Lane 4 g + t: of rows g, g + 8, .. of both operands the elements of its accesses to b: number t
/// of each four in a row.
RowsPlan rowsPlan(const MatrixLoop& loop) {
  const int kBits = static_cast<int>(llvm::Log2_64(loop.k));
  const int access = static_cast<int>(llvm::Log2_64(RowsPlan::accessOf(operandType(loop.b))));
  const int rest = kBits - access - 2;
  RowsPlan plan;
  // A thread with one row of activations has registers for eight accesses to a row of weights.
  const int accessBits = loop.oneRow() ? 3 : 2;
  plan.warpBits = std::clamp(rest - accessBits, 0, kMostWarpBits);
  const auto bit = [](int position) { return static_cast<int8_t>(position); };
  const auto rowBit = [&](int i, int64_t rows) {
    return i < static_cast<int>(llvm::Log2_64(rows)) ? bit(kBits + i) : int8_t{Layout::kCopies};
  };
  // Of a row of b a lane reads the elements of an access, of one of a those that it multiplies.
  const auto layout = [&](int64_t rows, int lane) {
    const int rowBits = static_cast<int>(llvm::Log2_64(rows));
    Layout to;
    to.threads = {bit(lane), bit(lane + 1)};
    for (int i = 0; i < 3; ++i) to.threads.push_back(rowBit(i, rows));
    for (int i = 0; i < plan.warpBits; ++i) to.threads.push_back(bit(kBits - plan.warpBits + i));
    for (int i = 0; i < kBits - plan.warpBits; ++i)
      if (i != lane && i != lane + 1) to.registers.push_back(bit(i));
    for (int i = 3; i < rowBits; ++i) to.registers.push_back(bit(kBits + i));
    return to;
  };
  plan.a = layout(loop.m, loop.lanesTrade ? access - 2 : access);
  plan.b = layout(loop.n, access);
  plan.rows = plan.b;
  plan.rows.threads[0] = plan.rows.threads[1] = Layout::kCopies;
  plan.rows = plan.rows.withRegister(access).withRegister(access + 1);
  plan.columns = plan.rows;
  plan.columns.threads[0] = rowBit(1, loop.m);
  plan.columns.threads[1] = rowBit(2, loop.m);
  for (int i = 2; i < 5; ++i) plan.columns.threads[i] = Layout::kCopies;
  plan.columns.registers.resize(static_cast<size_t>(kBits - plan.warpBits));
  for (int i = 0; int64_t{1} << i < loop.m; ++i)
    if (i == 0 || i > 2) plan.columns.registers.push_back(bit(kBits + i));
  return plan;
}

/// Of a warp's 16 rows and each 8 columns of the instruction, lane l holds row l / 4 and row l / 4
/// + 8, columns 2 (l mod 4) and one more.
Layout accumulatorLayout(const MatrixLoop& loop) {
  if (loop.cooperative) return cooperativeLayout(loop);
  const int ownColumns = static_cast<int>(llvm::Log2_64(loop.n));
  const auto row = [&](int bit) {
    return static_cast<int8_t>(loop.turned() ? bit : ownColumns + bit);
  };
  const auto column = [&](int bit) {
    return static_cast<int8_t>(loop.turned() ? ownColumns + bit : bit);
  };
  Layout layout;
  layout.threads = {column(1), column(2), row(0), row(1), row(2), row(4), row(5)};
  for (int bit = 6; int64_t{1} << bit < loop.rows(); ++bit) layout.threads.push_back(row(bit));
  layout.registers = {column(0), row(3)};
  for (int bit = 3; int64_t{1} << bit < loop.columns(); ++bit)
    layout.registers.push_back(column(bit));
  llvm::sort(layout.registers);
  return layout;
}

int threadBitsOf(const MatrixLoop& loop) {
  if (loop.cooperative)
    return CooperativeMatrix::kLaneBits +
           static_cast<int>(llvm::Log2_64(cooperativePlan(loop).groups()));
  if (loop.fewRows()) return 5 + rowsPlan(loop).warpBits;
  return 1 + static_cast<int>(llvm::Log2_64(loop.rows()));  // 64 rows a warpgroup
}

CooperativePlan cooperativePlan(const MatrixLoop& loop) {
  // Rows that begin 16 bytes behind a multiple of 32 lie in different banks, eight at a time.
  constexpr int64_t kPadding = 4;
  CooperativePlan plan;
  plan.rows = std::min(loop.m, kMostBlock);
  plan.columns = std::min(loop.n, kMostBlock);
  const auto share = [&] {
    plan.rowGroups = loop.m / plan.rows;
    plan.columnGroups = loop.n / plan.columns;
  };
  for (share(); plan.groups() < kWantedGroups; share()) {
    int64_t& larger = plan.columns >= plan.rows ? plan.columns : plan.rows;
    if (larger == kLeastBlock) break;
    larger /= 2;
  }
  plan.stride = loop.k / 2 + kPadding;
  plan.stageWords = (loop.m + loop.n) * plan.stride;
  return plan;
}

int64_t CooperativePlan::sumStride() const { return columns + 4; }
int64_t CooperativePlan::sumWords() const {
  return groups() * CooperativeMatrix::kSize * sumStride();
}

Layout cooperativeLayout(const MatrixLoop& loop) {
  const CooperativePlan plan = cooperativePlan(loop);
  const int ownColumns = static_cast<int>(llvm::Log2_64(loop.n));
  const auto row = [&](int bit) { return static_cast<int8_t>(ownColumns + bit); };
  const auto column = [](int bit) { return static_cast<int8_t>(bit); };
  Layout layout;
  layout.threads = {column(3), column(4), row(0), row(1), row(2)};
  for (int64_t at = plan.columns; at < loop.n; at *= 2)
    layout.threads.push_back(column(static_cast<int>(llvm::Log2_64(at))));
  for (int64_t at = plan.rows; at < loop.m; at *= 2)
    layout.threads.push_back(row(static_cast<int>(llvm::Log2_64(at))));
  layout.registers = {column(0), column(1), column(2)};
  for (int bit = 5; int64_t{1} << bit < plan.columns; ++bit)
    layout.registers.push_back(column(bit));
  for (int bit = 3; int64_t{1} << bit < plan.rows; ++bit) layout.registers.push_back(row(bit));
  return layout;
}

int64_t MatrixLoop::parts(Operation* operand) {
  return operandType(operand) == DType::f32 ? kF32Parts : 1;
}

SmallVector<std::pair<int64_t, int64_t>> MatrixLoop::partPairs() const {
  const int64_t ofRows = parts(turned() ? b : a), ofColumns = parts(turned() ? a : b);
  SmallVector<std::pair<int64_t, int64_t>> pairs;
  for (int64_t place = ofRows + ofColumns - 2; place >= 0; --place)
    for (int64_t row = std::min(place, ofRows - 1); row >= 0 && place - row < ofColumns; --row)
      if (place < 2 * (kF32Parts - 1)) pairs.emplace_back(row, place - row);
  return pairs;
}

bool MatrixLoop::sumsApart() const {
  return scalesSums() || hasParts(*this) ||
         (isPlain(a) && isPlain(b) && columns() <= kMostColumnsApart);
}

bool MatrixLoop::isPlain(Operation* operand) const {
  return operandType(operand) == multiplied && (scalesSums() || !(operand == a ? aScale : bScale));
}

std::optional<TensorMap> tensorMapOf(const MatrixLoop& loop, Operation* operand) {
  auto load = llvm::dyn_cast<LoadOp>(operand);
  const TileShape shape = shapeOf(operand->getResult(0));
  if (!load || !loop.isPlain(operand) || load.getOverridden() != 0 || load.getFill() != 0 ||
      shape[0] > kMostBoxRows)
    return std::nullopt;
  const ViewAttr view = load->getParentOfType<KernelOp>().view(load.getView());
  const size_t rank = load.getOffsets().size();
  for (size_t d = 0; d + 1 < rank; ++d) {
    const int64_t divisor = d < view.getStrides().size() ? view.getStrides()[d] : 1;
    if (size_in_bytes(loop.multiplied, divisor) % kAccessBytes != 0) return std::nullopt;
  }
  return TensorMap{static_cast<int64_t>(load.getView()), shape[0], loop.panel()};
}

std::optional<PipelinePlan> pipelinePlan(KernelOp kernel, const SimtTarget& target) {
  PipelinePlan plan;
  int64_t sums = 0;  // of a thread
  kernel->walk([&](ForOp op) {
    const auto loop = matchMatrixLoop(op, target);
    if (!loop || !inPipeline(*loop)) return;
    plan.stageBytes = std::max(plan.stageBytes, loop->stageBytes());
    plan.consumers = std::max(plan.consumers, int64_t{1} << threadBitsOf(*loop));
    sums = std::max(sums, loop->columns() / 2);
    plan.inTurn |= loop->takesTurns();
    plan.widensCodes |= loop->widensCodes();
    plan.readByLanes |= !loop->beside.empty();
    for (Operation* operand : {loop->a, loop->b}) {
      plan.decodes |= !loop->isPlain(operand);
      const auto map = tensorMapOf(*loop, operand);
      if (map && !llvm::is_contained(plan.maps, *map)) plan.maps.push_back(*map);
    }
  });
  if (plan.consumers == 0) return std::nullopt;
  const bool pairs = sums <= (plan.consumers == 128 ? kMostPaired : kMostPairedOfTwo);
  plan.producerBits = plan.decodes && pairs ? kDecoderBits : kCopierBits;
  plan.stages = std::min((target.sharedBytes - kOtherBytes) / plan.stageBytes, kMostStages);
  return plan;
}

bool holdsMatrixLoop(Operation* op, const SimtTarget& target) {
  return holds(op, target, [](const MatrixLoop&) { return true; });
}
bool holdsPipeline(Operation* op, const SimtTarget& target) {
  return holds(op, target, inPipeline);
}
bool holdsCooperative(Operation* op, const SimtTarget& target) {
  return holds(op, target, [](const MatrixLoop& loop) { return loop.cooperative; });
}
bool holdsRows(Operation* op, const SimtTarget& target) {
  return holds(op, target, [](const MatrixLoop& loop) { return loop.fewRows(); });
}

}  // namespace tessera::compiler::simt
