// SPDX-License-Identifier: Apache-2.0
// Loops that add up products of two tiles in memory: what matrix instructions are for.
#pragma once

#include <optional>

#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/layout.h"
#include "tessera/compiler/lowering/simt/passes.h"

namespace tessera::compiler::simt {

/// for (..) acc = a b^T [scaled] + acc, where nothing else happens but scalars, the loads, and
/// perhaps elementwise arithmetic on a. Operands are exact in bf16, or f32, which is the sum of
/// three parts in bf16.
struct MatrixLoop {
  static constexpr int64_t kRowBytes = 128;  // of a swizzled row in workgroup memory
  tile::ForOp loop;
  mlir::Operation* dot = nullptr;                        // DotOp or DotScaledOp
  mlir::Operation *a = nullptr, *b = nullptr;            // LoadOp or GatherOp: [M, K] and [N, K]
  mlir::Operation *aScale = nullptr, *bScale = nullptr;  // of e8m0; null: none
  int64_t m = 0, n = 0, k = 0;
  /// One row: further products of the same a, with tiles like b; carried behind the first one.
  struct Product {
    mlir::Operation *dot, *b, *bScale;
  };
  llvm::SmallVector<Product> others;
  llvm::SmallVector<Product> products() const;  // all
  /// Arithmetic on the elements of a, besides the product, in order; what comes of it are the
  /// loop's results from the second on.
  llvm::SmallVector<mlir::Operation*> beside;

  /// Both operands pass through workgroup memory, to cooperative matrices (cooperative_loop.cc).
  bool cooperative = false;
  /// Elsewhere the product of few rows is a read of b: it stays in registers (matrix_rows.cc).
  /// Otherwise both operands pass through workgroup memory (pipeline.cc).
  bool fewRows() const { return !cooperative && m <= mostFewRows; }
  int64_t mostFewRows = 32;  // less where the matrix unit takes tiles
  /// Whether the scales of an operand are constant over what four lanes side by side read of a row
  /// at once, so that they can multiply sums of few rows.
  bool scalesRowSums(mlir::Operation* operand) const;
  /// Few rows: both operands become f16 (else bf16), in which e4m3 and e2m1 are exact. Where each
  /// lane reads one block of b's scales, lanes trade words, so that what they multiply at once has
  /// one scale.
  bool halves = false, lanesTrade = false;
  /// One row, and scales that are constant over what a thread, or four side by side, read at once
  /// (matrix_row.cc).
  bool oneRow() const;

  /// The instruction has 64 rows and more: those of b, where a has fewer.
  bool turned() const { return m < 64; }
  int64_t rows() const { return turned() ? n : m; }
  int64_t columns() const { return turned() ? m : n; }

  /// What the instruction multiplies: e4m3 as it is, scaled after each turn, or bf16, into which
  /// operands and scales are decoded.
  DType multiplied = DType::bf16;
  bool scalesSums() const { return multiplied == DType::f8e4m3; }
  /// b is e2m1, which stages hold as e5m2: 26 binades of scales have room in it. Of the rows that a
  /// warp decodes, 8 at a time, the warps in turn, the largest scale multiplies sums.
  bool widensCodes() const;
  static constexpr int64_t kRowsTogether = 8;
  /// Two warpgroups multiply one after the other: one scales its sums meanwhile.
  bool takesTurns() const { return scalesSums() && !turned(); }
  int64_t panel() const { return kRowBytes / size_in_bytes(multiplied, 1); }  // of K, a row
  int64_t stageBytes() const {
    return size_in_bytes(multiplied, (m * parts(a) + n * parts(b)) * k);
  }
  /// Parts of an operand that stages hold one behind the other.
  static constexpr int64_t kF32Parts = 3;
  static int64_t parts(mlir::Operation* operand);
  /// Numbers of the parts of the instruction's rows and columns that are multiplied with each
  /// other, the smallest products first: all but that of two last parts, 2^-30 of the whole at
  /// most.
  llvm::SmallVector<std::pair<int64_t, int64_t>> partPairs() const;
  /// A turn's sums begin at zero and are added to those before it in f32, rounded to nearest: the
  /// matrix unit truncates.
  bool sumsApart() const;
  /// Of an operand: whether stages hold it as it lies in memory.
  bool isPlain(mlir::Operation* operand) const;
};

/// The loop as one for the target's matrix instructions.
std::optional<MatrixLoop> matchMatrixLoop(tile::ForOp loop, const SimtTarget& target);
std::optional<MatrixLoop> matrixLoopOf(mlir::Operation* dot, const SimtTarget& target);

/// How the threads of a program share a loop of few rows: a quad of lanes takes 16 bytes each of a
/// row of b, eight quads a row each of 8, warps share K.
struct RowsPlan {
  int warpBits = 0;
  Layout a, b;  // of the operands' tiles; an even number of elements in a row are consecutive
  /// Of the rows whose products a thread sums up, all that its warp has of K: columns of the
  /// instruction (a) and its rows (b).
  Layout columns, rows;
  /// Elements of b that one access brings.
  static int64_t accessOf(DType b);
};
RowsPlan rowsPlan(const MatrixLoop& loop);

/// How subgroups share a loop for cooperative matrices: blocks of its sums, those of a row side by
/// side; and how the operands lie in a stage, as pairs of bf16.
struct CooperativePlan {
  int64_t rows = 0, columns = 0;  // of a subgroup's block
  int64_t rowGroups = 0, columnGroups = 0;
  int64_t stride = 0, stageWords = 0;  // from row to row; of both operands
  int64_t groups() const { return rowGroups * columnGroups; }
  /// Words of all subgroups' sums of 16 rows, in rows of `sumStride()`.
  int64_t sumStride() const;
  int64_t sumWords() const;
};
CooperativePlan cooperativePlan(const MatrixLoop& loop);
/// The layout of the sums once they have passed through workgroup memory: eight in a row for each
/// lane.
Layout cooperativeLayout(const MatrixLoop& loop);

/// Where the matrix unit leaves the sums [M, N] of any other loop.
Layout accumulatorLayout(const MatrixLoop& loop);
/// log2 of the threads that multiply.
int threadBitsOf(const MatrixLoop& loop);

/// A view as the chip's copy engine sees it: boxes of `rows` x `columns` elements of its last two
/// dimensions.
struct TensorMap {
  int64_t view = 0, rows = 0, columns = 0;
  bool operator==(const TensorMap&) const = default;
};
/// The map by which an operand of a loop can be copied; null where its bytes are changed on the way
/// or lie as the engine cannot copy them.
std::optional<TensorMap> tensorMapOf(const MatrixLoop& loop, mlir::Operation* operand);

/// How the other loops of a kernel share its workgroup memory: stages of both operands, filled by
/// threads of their own.
struct PipelinePlan {
  int64_t stages = 0, stageBytes = 0;
  int64_t consumers = 0;  // threads
  int producerBits = 0;
  bool decodes = false;               // the producers, some of what they read
  bool inTurn = false;                // two warpgroups multiply: one while the other scales
  bool widensCodes = false;           // stages have a factor for each group of rows besides
  bool readByLanes = false;           // threads read stages, not the matrix unit alone
  llvm::SmallVector<TensorMap> maps;  // parameters of the kernel, in this order

  int64_t producers() const { return int64_t{1} << producerBits; }
  /// Factors beside a stage: of the rows of b that each warp decodes.
  int64_t rowGroups() const { return widensCodes ? producers() / 32 : 0; }
  /// Lanes of a warp that arrive at a barrier. One would do for all after they met, but the race
  /// checker orders what a thread wrote by its own arrival alone.
  int64_t arrivingLanes() const { return readByLanes ? 32 : 1; }
};
/// Null: there are none.
std::optional<PipelinePlan> pipelinePlan(tile::KernelOp kernel, const SimtTarget& target);
/// Whether such a loop is in there, or the operation is one.
bool holdsMatrixLoop(mlir::Operation* op, const SimtTarget& target);
/// The same of a loop of the pipeline.
bool holdsPipeline(mlir::Operation* op, const SimtTarget& target);
/// The same of a loop for cooperative matrices.
bool holdsCooperative(mlir::Operation* op, const SimtTarget& target);
/// The same of a loop of few rows.
bool holdsRows(mlir::Operation* op, const SimtTarget& target);

}  // namespace tessera::compiler::simt
