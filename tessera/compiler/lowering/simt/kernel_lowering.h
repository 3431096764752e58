// SPDX-License-Identifier: Apache-2.0
// Lowers a tile.kernel to the code of one thread: scalar arith, math and scf over a ThreadMemory.
// A tile is the registers its layout gives a thread; operations run in the order of the kernel.
#pragma once

#include <vector>

#include "llvm/ADT/DenseMap.h"
#include "mlir/Support/LogicalResult.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/lanes/emitter.h"
#include "tessera/compiler/lowering/simt/layout.h"
#include "tessera/compiler/lowering/simt/layout_assignment.h"
#include "tessera/compiler/lowering/simt/passes.h"
#include "tessera/compiler/lowering/simt/workgroup_memory.h"

namespace tessera::compiler::simt {

struct CooperativeProduct;
struct MatrixLoop;
struct PipelinePlan;
struct TensorMap;
struct RowsPlan;

/// What a thread does in a kernel with a pipeline (pipeline.cc).
enum class Role : uint8_t {
  kAll,       // no pipeline
  kConsumer,  // everything but filling the stages
  kProducer,  // nothing else
};
/// The pipeline's place in workgroup memory: addresses in bytes, i32.
struct PipelineMemory {
  int64_t stages = 0, stageBytes = 0, words = 0;
  mlir::Value full, empty;  // barriers, 8 bytes each
  mlir::Value data;
  mlir::Value factors;        // of each stage, f32 for each group of rows of b
  int64_t rowGroups = 0;      // 0: none
  int64_t arrivingLanes = 0;  // of a warp, at a barrier
  llvm::ArrayRef<TensorMap> maps;
};

/// A tile in a thread's registers, or a part of one.
struct Registers {
  Layout layout;
  llvm::SmallVector<mlir::Value> values;  // by register number
};

struct LaneProduct;

class KernelLowering {
 public:
  KernelLowering(Emitter& emitter, ThreadMemory& memory, tile::KernelOp kernel,
                 const SimtTarget& target, Role role = Role::kAll, int threadBits = 0,
                 const PipelineMemory* pipeline = nullptr);

  /// Emits the whole kernel, or the role's part of it, at the emitter's insertion point: a loop
  /// over the programs of this workgroup. `thread` is counted within the role.
  mlir::LogicalResult run(mlir::Value thread);
  int64_t threads() const { return layouts_.threads(); }
  const TileProducts& products() const { return layouts_.products(); }
  /// Words of workgroup memory the kernel needs; known after run().
  int64_t sharedWords() const { return shared_.peak(); }

 private:
  // ---- control (kernel_lowering.cc) ----
  llvm::SmallVector<mlir::Value, 3> shapedPlace(
      const ThreadMemory::Launch& launch, mlir::Value whole,
      llvm::function_ref<llvm::SmallVector<mlir::Value, 3>()> otherwise);
  llvm::SmallVector<mlir::Value, 3> rasterOf(mlir::Value linear);
  mlir::LogicalResult lowerProgram();
  mlir::LogicalResult lowerBlock(mlir::Block& block);
  mlir::LogicalResult lowerOperation(mlir::Operation* op);
  bool concernsRole(mlir::Operation* op);
  mlir::LogicalResult lowerFor(tile::ForOp loop);
  mlir::LogicalResult lowerIf(tile::IfOp branch);
  void lowerScalar(mlir::Operation* op);

  // ---- tiles (tiles.cc) ----
  /// The tile in its own layout, or any where it has none; or in the one that is asked for.
  Registers get(mlir::Value tile);
  Registers get(mlir::Value tile, const Layout& layout);
  void set(mlir::Value tile, Registers registers);
  mlir::Value scalar(mlir::Value value);
  /// A tile without a layout of its own, made in this one.
  Registers make(mlir::Value tile, const Layout& layout);
  Registers elementwise(mlir::Operation* op, const Layout& layout);
  llvm::SmallVector<mlir::Value> castPairs(tile::CastOp cast, llvm::ArrayRef<mlir::Value> numbers);
  /// Whether it is the constant 0, perhaps stretched.
  static bool isZero(mlir::Value tile);
  mlir::Value narrowPair(mlir::Value tile, const Layout& layout, int64_t number);
  llvm::SmallVector<mlir::Value> sumsOfNarrow(tile::ReduceOp op, const Registers& source);
  std::optional<Registers> narrowNumbers(mlir::Operation* op, const Layout& layout);
  void lowerShape(mlir::Operation* op);
  bool lowerButterfly(mlir::Operation* op);  // butterfly.cc
  bool lowerHadamard(mlir::Operation* op);   // hadamard.cc
  void lowerSlice(tile::SliceOp slice);
  void lowerTake(tile::TakeOp take);
  /// Tiles that get() noted inside a block are gone behind it.
  class Scope;

  // ---- positions (positions.cc) ----
  mlir::Value threadBit(int bit);  // i1
  /// The part of an element's position, or of its index along a dimension, that the thread number
  /// gives; a register adds its constant (i32).
  mlir::Value threadPosition(const Layout& layout);
  mlir::Value threadIndex(const Layout& layout, const lang::TileShape& shape, int dim);
  static int64_t registerIndex(const Layout& layout, const lang::TileShape& shape, int dim,
                               int64_t number);
  /// Whether this thread is the one that acts for all that hold copies; null: it always is.
  mlir::Value actsForCopies(const Layout& layout);

  // ---- layouts (convert_layout.cc) ----
  Registers convertLayout(const Registers& from, DType dtype, const Layout& to);
  std::optional<Registers> convertByLanes(const Registers& from, const Layout& to);
  std::optional<Registers> convertPairsByLanes(const Registers& from, const Layout& to);
  Registers convertByMemory(const Registers& from, DType dtype, const Layout& to);
  mlir::Value exchange(mlir::Value value, int laneBit);
  /// The elements in workgroup memory, in row-major order, and from there at any positions.
  Array spill(const Registers& registers, DType dtype, const lang::TileShape& shape);
  void write(const Registers& registers, const Array& array);
  Registers read(const Array& array, const Layout& layout);

  // ---- views (views.cc) ----
  struct Window;
  Window window(int64_t view, mlir::ValueRange offsets, int64_t overridden,
                mlir::ValueRange overrides, const lang::TileShape& shape, int rowDim);
  struct Chunk;
  Chunk locate(const Window& window, const Layout& layout, int64_t number, mlir::Value row);
  bool testsStrides(DType dtype, const lang::TileShape& shape) const;
  int vectorBits(int64_t view, mlir::ValueRange offsets, int64_t overridden,
                 mlir::ValueRange overrides, const lang::TileShape& shape, const Layout& layout,
                 bool gathered);
  llvm::SmallVector<mlir::Value> readChunk(const Window& window, const Chunk& chunk, int vector,
                                           int64_t fill);
  llvm::SmallVector<mlir::Value> packed(DType dtype, mlir::ValueRange values);
  llvm::SmallVector<mlir::Value> unpacked(DType dtype, mlir::ValueRange units, int count,
                                          mlir::Value odd);
  int64_t accessBytes(mlir::Operation* load, const Layout& layout);
  /// Whether each moves all a thread can at once.
  bool isWide(mlir::Operation* load, const Layout& layout) {
    return accessBytes(load, layout) == target_.widestBytes;
  }
  using Version = llvm::function_ref<llvm::SmallVector<mlir::Value>()>;
  llvm::SmallVector<mlir::Value> alignedVersions(llvm::ArrayRef<mlir::Operation*> loads,
                                                 mlir::TypeRange types, Version emit);
  mlir::Value leadingBytes(mlir::Operation* load);
  void writeChunk(const Window& window, const Chunk& chunk, mlir::ValueRange values,
                  mlir::Value wanted);
  Registers load(mlir::Operation* op, const Layout& layout);
  /// Which registers of a tile, and whether by this thread (null: by all).
  struct Part {
    int64_t first = 0, count = INT64_MAX;
    mlir::Value wanted = {};
  };
  void forEachWord(mlir::Operation* op, const Layout& layout, Part part,
                   llvm::function_ref<void(mlir::Value)> take);
  llvm::SmallVector<mlir::Value> loadWords(mlir::Operation* op, const Layout& layout, Part part);
  llvm::SmallVector<mlir::Value> loadWords(mlir::Operation* op, const Layout& layout) {
    return loadWords(op, layout, Part());
  }
  using ReadChunk = llvm::function_ref<void(const Window&, const Chunk&, int, int64_t)>;
  void forEachChunk(mlir::Operation* op, const Layout& layout, ReadChunk read) {
    forEachChunk(op, layout, 0, layout.registerCount(), read);
  }
  void forEachChunk(mlir::Operation* op, const Layout& layout, int64_t first, int64_t last,
                    ReadChunk read);
  llvm::SmallVector<mlir::Value> readUnits(const Window& window, const Chunk& chunk, int vector,
                                           int64_t fill);
  void lowerStore(tile::StoreOp store);
  void lowerRowUpdate(mlir::Operation* op);
  bool needsOrder(tile::StoreOp store);
  bool wantsOtherLayout(tile::StoreOp store, const Layout& layout);
  /// Whether tiles lie as wgmma leaves sums: lanes that trade registers are better than memory.
  bool holdsSums() const { return pipeline_ != nullptr || !layouts_.products().empty(); }
  Layout widened(mlir::Value tile, const Layout& layout);
  mlir::Value basesAligned();

  // ---- matrix loops (pipeline.cc, pipeline_fill.cc, matrix_rows.cc, matrix_row.cc) ----
  mlir::Value startPipeline();
  void lowerPipeline(const MatrixLoop& loop);
  struct Turns;
  Turns turnsOf(const MatrixLoop& loop);
  struct Place;
  Place placeAfter(const Place& place);
  Place keptPlace();
  void keepPlace(const Place& place);
  mlir::Value stageAddress(const Place& place);
  /// Of the barriers of all stages, of which `first` is the address, the stage's.
  mlir::Value barrierAt(mlir::Value first, mlir::Value stage);
  mlir::Value arrives();
  /// The scales of an operand that multiply sums, in the layout of the sums' rows or columns: that
  /// of the sum at position p of the tile is number p / divisor % count.
  struct SumScale {
    mlir::Operation* scale;
    Layout layout;
    int64_t divisor, count;
  };
  llvm::SmallVector<SumScale> sumScales(const MatrixLoop& loop);
  mlir::Value sumFactor(const Layout& sums, int64_t number, llvm::ArrayRef<SumScale> scales,
                        mlir::ValueRange factors);
  llvm::SmallVector<mlir::Value> scalesOfTurn(const Turns& turns, mlir::Value turn,
                                              llvm::ArrayRef<SumScale> scales);
  struct StagePanels {
    llvm::SmallVector<mlir::Value> rows, columns;
  };
  StagePanels panelsOf(const MatrixLoop& loop, mlir::Value stage, mlir::Value group);
  llvm::SmallVector<mlir::Value> besideOfStage(const MatrixLoop& loop, mlir::Value stage,
                                               mlir::ValueRange before);
  llvm::SmallVector<mlir::Value> sumsOfStage(const MatrixLoop& loop, const Place& at,
                                             mlir::Value group, mlir::ValueRange before);
  /// What a turn's sums are multiplied with.
  struct TurnFactors {
    llvm::ArrayRef<SumScale> scales;
    llvm::SmallVector<mlir::Value> ofScales;
    llvm::SmallVector<mlir::Value> ofGroups;  // of rows of b; empty: none
  };
  void addTurn(const MatrixLoop& loop, llvm::MutableArrayRef<mlir::Value> sums,
               mlir::ValueRange before, const TurnFactors& factors);
  /// Where a stage has the factors of the groups of rows of b.
  mlir::Value factorsAt(const Place& place);
  llvm::SmallVector<mlir::Value> groupFactors(const MatrixLoop& loop, const Place& at);
  void multiplyStages(const MatrixLoop& loop);
  void fillStages(const MatrixLoop& loop);
  struct Filling;
  Filling fillingOf(const MatrixLoop& loop, mlir::Operation* operand);
  Filling waysOf(const MatrixLoop& loop, mlir::Operation* operand);
  Registers stagedRows(const MatrixLoop& loop, mlir::Value stage);
  int64_t turnsAhead(llvm::ArrayRef<Filling> sides);
  void fillStage(const MatrixLoop& loop, llvm::ArrayRef<Filling> sides, mlir::ValueRange fetched,
                 const Place& at);
  llvm::SmallVector<mlir::Value> fetch(const Filling& side);
  void deposit(const Filling& side, mlir::ValueRange fetched, mlir::Value stage);
  void depositParts(const Filling& side, mlir::ValueRange fetched, mlir::Value stage);
  void depositWidened(const Filling& side, mlir::ValueRange fetched, const Place& at);
  void copyByThreads(const Filling& side, mlir::Value stage);
  void copyPieces(const Filling& side, mlir::Value stage);
  void copyBoxes(const Filling& side, mlir::Value stage, mlir::Value full, int64_t warp);
  mlir::Value stagePlace(const Filling& side, mlir::Value first, int64_t number);
  mlir::Value stageBase(const Filling& side, mlir::Value stage);
  void lowerMatrixRows(const MatrixLoop& loop);
  llvm::SmallVector<mlir::Value> sumsOfTurns(
      tile::ForOp loop, int64_t count,
      llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::ValueRange)> turn);
  void lowerMatrixRow(const MatrixLoop& loop);
  struct SumScales;
  SumScales sumScales(mlir::Operation* operand, mlir::Operation* scale, const Layout& layout,
                      int64_t access);
  mlir::Value scaleOfSum(const SumScales& scales, int64_t number);
  llvm::SmallVector<mlir::Value> pairsForRow(const MatrixLoop& loop, mlir::Operation* operand,
                                             mlir::ValueRange words);
  llvm::SmallVector<mlir::Value> sumsOfRow(const MatrixLoop& loop, const RowsPlan& plan);
  void sumOfRow(const MatrixLoop& loop, const RowsPlan& plan, mlir::ValueRange sums);
  llvm::SmallVector<mlir::Value> pairsOf(mlir::Operation* operand, mlir::Operation* scale,
                                         const Layout& layout, mlir::ValueRange words,
                                         mlir::ValueRange codes, int64_t first = 0);
  llvm::SmallVector<mlir::Value> scaleCodes(mlir::Operation* operand, mlir::Operation* scale,
                                            const Layout& layout);
  struct RowsSide;
  RowsSide rowsSide(const MatrixLoop& loop, mlir::Operation* operand, const Layout& layout,
                    const Layout& scaled);
  void readRows(RowsSide& side, int64_t step, int64_t ahead);
  void readRowScales(RowsSide& side, bool ofSums);
  llvm::SmallVector<mlir::Value> pairsOfStep(const MatrixLoop& loop, const RowsSide& side,
                                             int64_t group, int64_t step);
  void addProducts(const MatrixLoop& loop, const RowsSide& a, const RowsSide& b, int64_t step,
                   std::pair<int64_t, int64_t> place,
                   llvm::ArrayRef<llvm::SmallVector<mlir::Value>> rows, mlir::ValueRange columns,
                   llvm::MutableArrayRef<mlir::Value> sums);
  llvm::SmallVector<mlir::Value> sumsOfThread(const MatrixLoop& loop, const RowsPlan& plan);
  Registers sumOfWarps(const MatrixLoop& loop, const RowsPlan& plan, mlir::ValueRange sums);

  // ---- loops for cooperative matrices (cooperative_loop.cc) ----
  struct StagedSide;
  StagedSide stagedSide(const MatrixLoop& loop, mlir::Operation* operand);
  llvm::SmallVector<mlir::Value> pairsOfSide(const StagedSide& side, mlir::ValueRange fetched);
  void depositSide(const StagedSide& side, mlir::ValueRange fetched, const Array& stages,
                   mlir::Value stage);
  void multiplyStage(const MatrixLoop& loop, const Array& stages, mlir::Value stage,
                     mlir::ValueRange sums);
  void addTurns(const MatrixLoop& loop, mlir::ValueRange sums);
  Registers sumsOfSubgroups(const MatrixLoop& loop, mlir::ValueRange sums);
  void lowerCooperative(const MatrixLoop& loop);

  // ---- other products for cooperative matrices (cooperative_product.cc) ----
  struct OperandPart;
  void copyPart(mlir::Operation* read, const OperandPart& part, const Array& to);
  void storePart(const OperandPart& part, const Array& to);
  Array stagePart(const OperandPart& part);
  void multiplyParts(const CooperativeProduct& product, const OperandPart& a, const Array& left,
                     const OperandPart& b, const Array& right,
                     llvm::MutableArrayRef<mlir::Value> sums);
  void addSums(const CooperativeProduct& product, mlir::ValueRange sums, int64_t first,
               Registers& total);
  void lowerCooperativeProduct(const CooperativeProduct& product);

  // ---- tiles in workgroup memory (stage_tiles.cc, decode_tiles.cc), products (multiply_tiles.cc)
  // ----
  /// A place of a tile.
  struct Staged {
    StagedShape shape;
    Array array;          // all of its places
    mlir::Value address;  // i32
  };
  /// What a decoded tile is made of, as it lies in memory, one turn ahead: codes in workgroup
  /// memory, each thread's where it alone writes and reads, their scales in registers.
  struct Fetched {
    mlir::Operation* load;
    Layout layout;
    bool isScale;
    Array place = {};                            // of codes
    llvm::SmallVector<mlir::Value> values = {};  // scales of this turn, then of the next
    llvm::SmallVector<mlir::Value> rows = {};    // to gather for the next
    bool due = false;                            // this turn's are decoded
    int64_t words() const;                       // of a thread
  };
  /// Loads of a loop whose tiles are copied one turn ahead, to the other of two places, and those
  /// that are fetched.
  struct Ahead {
    tile::ForOp loop;
    llvm::SmallVector<mlir::Operation*> loads;
    llvm::SmallVector<Fetched> fetched;
    mlir::Value place = {};                    // of this turn, then of the next: 0 or 1, i32
    llvm::SmallVector<mlir::Value> rows = {};  // to gather for the next
    bool due = false;                          // the next turn's copies can begin
    bool empty() const { return loads.empty() && fetched.empty(); }
  };
  Staged reserve(mlir::Value tile, int64_t places);
  llvm::SmallVector<mlir::Value> reserveStaged(mlir::Block& block);
  mlir::Value stagedPlace(const StagedShape& to, const lang::TileShape& shape,
                          const Layout& layout);
  mlir::Value stagedPlace(const StagedShape& to, const lang::TileShape& shape, const Layout& layout,
                          mlir::Value first, int64_t number, int64_t repeat);
  void store(const Registers& from, const lang::TileShape& shape, const Staged& to);
  bool copiesDirectly(mlir::Operation* load);
  void copyStaged(mlir::Operation* load, const StagedShape& to, mlir::Value address);
  void awaitCopies();
  void stageLoad(mlir::Operation* load);
  class PairDecoder;
  void stageDecoded(mlir::Value tile, const Staged& to);
  static void addSources(mlir::Value tile, const Layout& layout, bool isScale,
                         llvm::SmallVector<Fetched>& sources);
  llvm::SmallVector<Fetched> fetchedAhead(tile::ForOp loop);
  Fetched* fetched(mlir::Operation* load);
  mlir::Value fetchedPlace(const Fetched& source, int64_t word, int64_t words);
  llvm::SmallVector<mlir::Value> read(const Fetched& source);
  void readRows(tile::ForOp loop, Fetched& source, mlir::Value counter);
  void fetch(tile::ForOp loop, Fetched& source, mlir::Value counter);
  void stageResult(mlir::Operation* op);
  llvm::SmallVector<mlir::Operation*> loadsAhead(tile::ForOp loop);
  void copyAhead(const Ahead& ahead, mlir::Value counter, mlir::Value place);
  void remakeScalars(mlir::Value value, mlir::Block& block, llvm::DenseSet<mlir::Value>& remade);
  void inTurn(tile::ForOp loop, mlir::Value counter, llvm::function_ref<void()> emit);
  Layout rowsToCopy(tile::GatherOp gather);
  llvm::SmallVector<mlir::Value> rowsOfTurn(const Ahead& ahead, mlir::Value counter);
  llvm::SmallVector<mlir::Value> startAhead(Ahead& ahead);
  llvm::SmallVector<mlir::Value> carriedAhead(const Ahead& ahead);
  void startTurn(mlir::ValueRange carried);
  void endAhead(const Ahead& ahead);
  void advanceIfDue();
  mlir::Value groupIndex(const Layout& layout, const lang::TileShape& shape, int dim);
  Staged stagedOf(mlir::Value tile);
  bool canBeMade(mlir::Value tile);
  void convertAhead(tile::ForOp loop);
  void convertAhead(tile::ForOp loop, mlir::Value tile, const Layout& layout);
  void makeForConsumers(mlir::Value sums, const Layout& layout);
  void lowerProduct(const TileProduct& product);
  /// A product that the matrix unit is working on; until somebody needs its sums the kernel goes
  /// on.
  struct UnderWay {
    mlir::Value tile;
    Layout layout;
    llvm::SmallVector<int64_t> numbers;  // of the layout's registers, in the order of the sums
    llvm::SmallVector<mlir::Value> sums;
    int64_t groups = 0;  // of instructions
    Array a = {}, b = {};
  };
  void finishProduct(const UnderWay& product, int64_t later);
  /// Those whose sums the operation needs; all, where it has blocks of its own.
  void finishProductsFor(mlir::Operation* op);
  void finishProducts();

  // ---- across elements (reduce.cc, across.cc, dot.cc) ----
  void lowerReduce(tile::ReduceOp op);
  void lowerScan(tile::ScanOp op);
  void lowerHistogram(tile::HistogramOp op);
  void lowerSort(tile::SortOp op);
  void lowerDot(mlir::Operation* op);
  Registers operandOf(mlir::Operation* op, int number, std::optional<Layout> layout = {});
  void lowerLaneProduct(mlir::Operation* op, const LaneProduct& product);
  /// body(i) for i = thread, thread + threads, .. below `count`.
  void forEach(int64_t count, llvm::function_ref<void(mlir::Value)> body);

  static lang::TileType typeOf(mlir::Value value) { return *tile::tileType(value.getType()); }
  static lang::TileShape shapeOf(mlir::Value value) { return typeOf(value).shape; }
  static DType dtypeOf(mlir::Value value) { return typeOf(value).dtype; }

  Emitter& e_;
  ThreadMemory& memory_;
  tile::KernelOp kernel_;
  const SimtTarget& target_;
  const LayoutAssignment layouts_;
  WorkgroupMemory shared_;
  const Role role_;
  const PipelineMemory* pipeline_;  // null: none
  mlir::Value place_;               // where the stage and the parity of the next turn are kept
  bool aligned_ = false;            // all bases are multiples of 16
  int64_t leadingAligned_ = 0;  // bytes that divide what leading indices add to a base; 0: unknown
  mlir::Value thread_;          // i32
  llvm::DenseMap<mlir::Value, mlir::Value> scalars_;  // of rank 0
  llvm::DenseMap<mlir::Value, std::vector<Registers>> tiles_;
  std::vector<mlir::Value> noted_;                          // tiles in the order of set()
  llvm::SmallVector<mlir::Value, 3> programId_, gridSize_;  // i64
  mlir::Value warpgroup_;  // its number (i32), where there are products of tiles
  llvm::DenseMap<mlir::Value, Staged> staged_;
  Ahead* ahead_ = nullptr;          // of the innermost loop; null: nothing is copied ahead
  bool copiesPending_ = false;      // to places that products read
  std::vector<UnderWay> underWay_;  // in the order in which they began
};

/// for (i = lo; i < hi; i += step) over i32 with carried values.
llvm::SmallVector<mlir::Value> loop32(
    Emitter& e, mlir::Value lo, mlir::Value hi, mlir::Value step, mlir::ValueRange init,
    llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::ValueRange)> body);

/// What emitThreadCode() found out about a kernel.
struct ThreadCode {
  int64_t threads = 0, sharedWords = 0;
  int64_t workgroups = 1;  // that a multiprocessor should have registers for
};

/// Emits a kernel with a pipeline: threads that multiply, and after them threads that fill stages.
mlir::FailureOr<ThreadCode> emitRoles(Emitter& emitter, ThreadMemory& memory, tile::KernelOp kernel,
                                      const SimtTarget& target, const PipelinePlan& plan);

/// Emits the kernel at the builder's insertion point in `entry` and notes on the module what it
/// needs (kSharedBytesAttribute, kThreadsAttribute). Fails, with a diagnostic, when that is more
/// than the target has.
mlir::FailureOr<ThreadCode> emitThreadCode(mlir::OpBuilder& builder, ThreadMemory& memory,
                                           tile::KernelOp kernel, mlir::Block* entry,
                                           const SimtTarget& target);

}  // namespace tessera::compiler::simt
