// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_test_kernel.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "tessera/compiler/dialects.h"
#include "tessera/compiler/lowering/cpu/dot.h"
#include "tessera/compiler/lowering/cpu/dot_amx.h"
#include "tessera/compiler/passes/passes.h"

namespace tessera::compiler::cpu {
namespace {

using llvm::SmallVector;
using mlir::Value;
using mlir::ValueRange;

#if defined(__x86_64__)
/// Tile registers need a permission of the kernel.
bool tilesWork() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return __builtin_cpu_supports("amx-bf16") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

TestLevel makeLevel(const char* name, int lanes, const char* cpu, const char* features) {
  TestLevel level;
  level.name = name;
  level.target.isX86 = true;
  level.target.lanes = lanes;
  level.target.registers = lanes == 16 ? 32 : 16;
  level.target.hasFma = level.target.hasAvx2 = lanes >= 8;
  level.target.hasAvx512 = lanes == 16;
  const std::string_view all = features;
  level.target.hasBf16Dot = all.find("bf16") != all.npos;
  level.target.hasVnni = all.find("vnni") != all.npos;
  level.target.hasVbmi = all.find("vbmi") != all.npos;
  level.machine = {"x86_64-unknown-linux-gnu", cpu, features, 32 * lanes};
  level.target.hasAmxBf16 = level.target.slowBf16Dot = all.find("amx-bf16") != all.npos;
#if defined(__x86_64__)
  level.runsHere = lanes == 4 || (lanes == 8 && __builtin_cpu_supports("x86-64-v3")) ||
                   (lanes == 16 && __builtin_cpu_supports("x86-64-v4"));
  if (level.target.hasBf16Dot && !__builtin_cpu_supports("avx512bf16")) level.runsHere = false;
  if (level.target.hasVbmi && !__builtin_cpu_supports("avx512vbmi")) level.runsHere = false;
  if (level.target.hasVnni && !__builtin_cpu_supports("avx512vnni")) level.runsHere = false;
  if (level.target.hasAmxBf16 && !tilesWork()) level.runsHere = false;
#endif
  return level;
}

int64_t groups(int64_t k, int64_t group) { return std::max<int64_t>(1, k / group); }

/// Emits the loops over tiles that a lowered kernel would have around its products.
class Body {
 public:
  Body(Emitter& e, const TestProduct& product, Value operands)
      : e(e), product_(product), operands_(operands) {
    DotTask task = describe();
    using enum DotTask::Accumulator;
    if (product.carried && suitsTiles(e.target, task) && configureTiles(e, task))
      layout_ = kTransposed;
    else if (product.carried && wantsPartialSums(e.target, task))
      layout_ = kPartial;
    partial_ = layout_ == kPartial;
    lanes_ = partial_ ? e.target.lanes : 1;
    element_ = product.a == DType::i8 ? e.i32() : e.f32();
    copies_ = layout_ == kTransposed ? transposedCopies(product.m, product.n) : 1;
    accumulator_ = e.scratch(product.m * product.n * copies_ * lanes_ * 4);
  }

  void emit() {
    const Value rows = product_.someRows ? e.i64(product_.m) : number(offsetof(TestOperands, rows));
    each(e.i64(0), rows, product_.m, [&](Value row) {
      each(number(offsetof(TestOperands, firstColumn)), number(offsetof(TestOperands, columns)),
           product_.n, [&](Value column) { tile(row, column); });
    });
  }

 private:
  Value number(size_t at) { return e.load(e.i64(), e.offset(operands_, int64_t(at)), 8); }
  Value address(size_t at) { return e.load(e.pointer(), e.offset(operands_, int64_t(at)), 8); }
  void each(Value lo, Value hi, int64_t step, llvm::function_ref<void(Value)> body) {
    e.loop(lo, hi, e.i64(step), {}, [&](Value i, ValueRange) {
      body(i);
      return SmallVector<Value>();
    });
  }
  Value bytes(DType dtype, Value elements) {
    return bits(dtype) < 8 ? e.shr(elements, 1) : e.mul(elements, e.i64(bits(dtype) / 8));
  }
  Value at(size_t base, size_t stride, DType dtype, Value row, Value column) {
    return e.offset(e.offset(address(base), e.mul(row, number(stride))), bytes(dtype, column));
  }
  Value over(Value x, int64_t divisor) { return e.shr(x, std::countr_zero(uint64_t(divisor))); }

  DotTask describe() {
    const TestProduct& p = product_;
    DotTask task;
    task.m = p.m;
    task.n = p.n;
    task.k = p.k;
    task.bIsKn = p.bIsKn;
    task.a.dtype = p.a;
    task.b.dtype = p.b;
    task.b.inView = true;
    if (p.aGroup) task.aScale = DotScale{{}, {}, p.aScale, p.m, groups(p.k, p.aGroup)};
    if (p.bGroup)
      task.bScale = DotScale{
          {}, {}, p.bScale, std::max<int64_t>(1, p.n / p.bGroupRows), groups(p.k, p.bGroup)};
    return task;
  }

  void product(Value row, Value column, Value k) {
    const TestProduct& p = product_;
    DotTask task = describe();
    task.accumulator = accumulator_;
    task.layout = layout_;
    if (p.someRows) task.usedRows = number(offsetof(TestOperands, rows));
    const Value bRow = p.bIsKn ? k : column, bColumn = p.bIsKn ? column : k;
    task.b.pointer =
        at(offsetof(TestOperands, b), offsetof(TestOperands, bStride), p.b, bRow, bColumn);
    task.b.rowStride = number(offsetof(TestOperands, bStride));
    if (task.bScale) {
      task.bScale->pointer =
          at(offsetof(TestOperands, bScale), offsetof(TestOperands, bScaleStride), p.bScale,
             over(column, p.bGroupRows), over(k, p.bGroup));
      task.bScale->rowStride = number(offsetof(TestOperands, bScaleStride));
    }
    const auto load = [this, row, k](DotTask& t) {
      t.a.pointer =
          at(offsetof(TestOperands, a), offsetof(TestOperands, aStride), product_.a, row, k);
      t.a.rowStride = number(offsetof(TestOperands, aStride));
      if (!t.aScale) return;
      t.aScale->pointer = at(offsetof(TestOperands, aScale), offsetof(TestOperands, aScaleStride),
                             product_.aScale, row, over(k, product_.aGroup));
      t.aScale->rowStride = number(offsetof(TestOperands, aScaleStride));
    };
    if (p.reuse)
      task.reuse = DotReuse{{row, k}, k, load};
    else
      load(task);
    emitDot(e, task);
  }

  void tile(Value row, Value column) {
    const int64_t count = product_.m * product_.n;
    const int64_t chunk = partial_ ? lanes_ : std::min<int64_t>(count, e.target.lanes);
    const mlir::Type vector = e.type(element_, chunk);
    if (partial_) {
      for (int64_t i = 0; i < count * lanes_; i += chunk)
        e.store(e.constant(vector, 0), e.offset(accumulator_, i * 4),
                static_cast<unsigned>(4 * chunk));
    } else {
      e.loop(0, count * copies_, chunk, [&](Value i) {
        e.store(e.constant(vector, 0), e.offset(accumulator_, e.shl(i, 2)), 4);
      });
    }
    each(e.i64(0), number(offsetof(TestOperands, k)), product_.k,
         [&](Value k) { product(row, column, k); });
    if (layout_ == DotTask::Accumulator::kTransposed) {
      const Value sums = e.scratch(4 * count);
      transposeSums(e, {accumulator_, product_.n, product_.m}, sums, /*adds=*/false);
      each(e.i64(0), e.i64(product_.m), 1, [&](Value m) {
        each(e.i64(0), e.i64(product_.n), 1, [&](Value n) { result(sums, row, column, m, n); });
      });
      return;
    }
    if (!partial_) {
      e.loop(0, product_.m, 1, [&](Value m) {
        e.loop(0, product_.n, 1, [&](Value n) { result(accumulator_, row, column, m, n); });
      });
      return;
    }
    // At constant offsets, so that the sums stay in registers.
    for (int64_t m = 0; m < product_.m; ++m)
      for (int64_t n = 0; n < product_.n; ++n)
        result(accumulator_, row, column, e.i64(m), e.i64(n));
  }

  void result(Value sums, Value row, Value column, Value m, Value n) {
    const Value index = e.add(e.mul(m, e.i64(product_.n)), n);
    const Value from = e.offset(sums, e.mul(index, e.i64(lanes_ * 4)));
    Value sum = e.load(e.type(element_, lanes_), from, static_cast<unsigned>(4 * lanes_));
    sum = e.extract(e.reduceHalves(sum, [&](Value x, Value y) { return e.add(x, y); }), 0);
    const Value line = e.mul(e.add(row, m), number(offsetof(TestOperands, cStride)));
    e.store(sum,
            e.offset(address(offsetof(TestOperands, c)), e.shl(e.add(line, e.add(column, n)), 2)),
            4);
  }

  Emitter& e;
  const TestProduct& product_;
  Value operands_, accumulator_;
  DotTask::Accumulator layout_ = DotTask::Accumulator::kPlain;
  bool partial_ = false;
  int64_t lanes_ = 1, copies_ = 1;
  mlir::Type element_;
};

Result<std::vector<char>> compileObject(const TestProduct& product, const TestLevel& level,
                                        const std::string& assemblyFile, StageTimer& timer) {
  mlir::MLIRContext context(dialects(), mlir::MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  mlir::OpBuilder builder(&context);
  const mlir::Location loc = builder.getUnknownLoc();
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(loc);
  builder.setInsertionPointToEnd(module->getBody());
  const auto type = mlir::LLVM::LLVMFunctionType::get(mlir::LLVM::LLVMVoidType::get(&context),
                                                      {mlir::LLVM::LLVMPointerType::get(&context)});
  auto function = mlir::LLVM::LLVMFuncOp::create(builder, loc, "product", type);
  mlir::Block* entry = function.addEntryBlock(builder);
  builder.setInsertionPointToStart(entry);
  auto end = mlir::LLVM::ReturnOp::create(builder, loc, ValueRange{});
  builder.setInsertionPoint(end);
  Emitter e(builder, loc, level.target, entry);
  Body(e, product, entry->getArgument(0)).emit();
  e.releaseTiles();
  if (failed(mlir::verify(*module))) return internal_error("the emitted code does not verify");
  mlir::PassManager passes(&context);
  passes.addPass(mlir::createCSEPass());
  passes.addPass(mlir::createSCFToControlFlowPass());
  passes.addPass(createConvertToLlvmPass());
  if (failed(passes.run(*module))) return internal_error("the emitted code does not lower to LLVM");
  return compileToObject(*module, level.machine, assemblyFile, timer);
}

}  // namespace

const std::vector<TestLevel>& testLevels() {
  static const std::vector<TestLevel> levels = {
      makeLevel("sse2", 4, "x86-64", ""),
      makeLevel("avx2", 8, "x86-64-v3", ""),
      makeLevel("avx512", 16, "x86-64-v4", ""),
      makeLevel("avx512bf16", 16, "x86-64-v4", "+avx512bf16"),
      makeLevel("zen4", 16, "x86-64-v4", "+avx512bf16,+avx512vnni,+avx512vbmi"),
      makeLevel("sapphirerapids", 16, "x86-64-v4",
                "+avx512bf16,+avx512vnni,+avx512vbmi,+amx-tile,+amx-bf16"),
  };
  return levels;
}

const TestLevel& testLevel(const std::string& name) {
  return *std::ranges::find(testLevels(), name, &TestLevel::name);
}

Result<TestKernel> TestKernel::compile(const TestProduct& product, const TestLevel& level) {
  TestKernel kernel;
  StageTimer timer;
  char listing[] = "/tmp/tessera_dot_XXXXXX";
  const int listingFile = mkstemp(listing);
  if (listingFile < 0) return io_error("cannot make a temporary file");
  close(listingFile);
  auto object = compileObject(product, level, listing, timer);
  std::stringstream text;
  text << std::ifstream(listing).rdbuf();
  kernel.assembly_ = text.str();
  std::remove(listing);
  if (!object.ok()) return std::move(object).error();
  TESSERA_ASSIGN(const std::vector<std::byte> image, linkSharedObject(*object, timer));
  const int file = memfd_create("product", MFD_CLOEXEC);
  const auto written = write(file, image.data(), image.size());
  if (written != static_cast<ssize_t>(image.size())) return io_error("cannot write the library");
  // The file stays open as long as the library: dlopen knows libraries by name, so a descriptor
  // that was used again would give the kernel before.
  void* handle = dlopen(fmt::format("/proc/self/fd/{}", file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return io_error(dlerror());
  kernel.library_ = std::shared_ptr<void>(handle, [file](void* library) {
    dlclose(library);
    close(file);
  });
  kernel.function_ = reinterpret_cast<Function>(dlsym(handle, "product"));
  return kernel;
}

}  // namespace tessera::compiler::cpu
