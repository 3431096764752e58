// SPDX-License-Identifier: Apache-2.0
// Instructions of sm_80 and sm_90a that the matrix loops are made of, as PTX. Rules and traps are
// those of the PTX manual's chapters on cp.async, mbarrier and wgmma. Addresses of workgroup memory
// are i32, in bytes.
#pragma once

#include <optional>
#include <string>

#include "llvm/ADT/SmallVector.h"
#include "mlir/IR/Builders.h"
#include "tessera/base/dtype.h"

namespace tessera::compiler::simt {

class Hopper {
 public:
  explicit Hopper(mlir::OpBuilder& builder) : builder_(builder) {}

  // ---- copies to workgroup memory ----
  /// Copies 4, 8 or 16 bytes from global (i64) to workgroup memory; zeros where `inside` is false
  /// (null: always true).
  void copyAsync(mlir::Location loc, mlir::Value to, mlir::Value from, mlir::Value inside,
                 int64_t bytes = 16);
  /// Closes the group of the copies since the last one.
  void commitCopies(mlir::Location loc);
  /// Waits until at most `pending` groups of this thread are under way.
  void waitForCopies(mlir::Location loc, int pending);
  /// The barrier's phase waits for the copies this thread has begun, besides its arrivals.
  void expectCopies(mlir::Location loc, mlir::Value barrier);
  /// Copies a tensor map's box from these coordinates on (i32, the innermost first); what is out of
  /// bounds becomes zero. By one thread; the bytes of the whole box arrive at the barrier.
  void copyBox(mlir::Location loc, mlir::Value map, mlir::ValueRange from, mlir::Value to,
               mlir::Value barrier, mlir::Value condition);
  /// The barrier's phase waits for so many bytes, besides its arrivals.
  void expectBytes(mlir::Location loc, mlir::Value barrier, int64_t bytes, mlir::Value condition);
  /// One, two or four words from a multiple of their size.
  llvm::SmallVector<mlir::Value> loadWords(mlir::Location loc, mlir::Value from, int64_t count = 4);
  /// Two or four words for the whole warp, which its first lane reads alone, where `reads` holds.
  llvm::SmallVector<mlir::Value> loadWordsOfWarp(mlir::Location loc, int64_t count,
                                                 mlir::Value from, mlir::Value reads);
  /// Stores one, two or four words, or 16 bits, to a multiple of their size.
  void storeWords(mlir::Location loc, mlir::ValueRange words, mlir::Value to);
  /// One, where the condition holds.
  void storeWord(mlir::Location loc, mlir::Value word, mlir::Value to, mlir::Value condition);
  /// What this thread wrote, the matrix unit sees after the next synchronisation.
  void showToMatrixUnit(mlir::Location loc);

  // ---- threads ----
  /// The threads of a warp meet here; what they wrote, all of them see.
  void meetWarp(mlir::Location loc);
  /// From here on the threads of this warpgroup have so many registers: more than they were
  /// launched with, which others gave up, or fewer.
  enum class Registers : uint8_t { kMore, kFewer };
  void haveRegisters(mlir::Location loc, Registers change, int count);

  // ---- barriers that count arrivals, 8 bytes each ----
  void initialise(mlir::Location loc, mlir::Value barrier, int64_t arrivals);
  void arrive(mlir::Location loc, mlir::Value barrier, mlir::Value condition = {});
  /// Waits for the end of the phase with this parity (i32).
  void wait(mlir::Location loc, mlir::Value barrier, mlir::Value parity);

  // ---- the matrix unit ----
  /// A number (i32) that is the same in all threads of a warp, made known as such: what is computed
  /// from it is computed once a warp.
  mlir::Value uniform(mlir::Location loc, mlir::Value value);
  /// The number of the warpgroup.
  mlir::Value warpgroup(mlir::Location loc, mlir::Value thread);
  /// Descriptor of a K-major tile with rows of 128 bytes, swizzled, at a multiple of 1024.
  mlir::Value descriptor(mlir::Location loc, mlir::Value address);
  /// sums += a b^T in bf16: 64 rows, n columns, 64 of K for each of the pairs of descriptors. Sums
  /// are in the order of the instruction.
  using Sums = llvm::SmallVector<mlir::Value>;
  Sums multiply(mlir::Location loc, int64_t n, mlir::ValueRange a, mlir::ValueRange b, Sums sums);
  /// The same sums, of which the compiler knows nothing else: what is computed from them stays
  /// where it is.
  Sums pinned(mlir::Location loc, Sums sums) { return tied(loc, "", std::move(sums), {}, ""); }
  /// The turns two warpgroups take at the matrix unit: the barriers (i32) of this one and the
  /// other.
  struct Order {
    mlir::Value own, other;
  };
  Order order(mlir::Location loc, mlir::Value warpgroup);
  /// The other's turn, where the condition holds.
  void passTurn(mlir::Location loc, const Order& order, mlir::Value condition);
  /// The same of bf16 or e4m3 (128 of K for each pair), with sums that begin at zero; perhaps in
  /// turn.
  enum class Types : uint8_t { kBf16, kE4m3, kE4m3ByE5m2, kE5m2ByE4m3 };
  Sums product(mlir::Location loc, int64_t n, Types types, mlir::ValueRange a, mlir::ValueRange b,
               const std::optional<Order>& order);
  /// Of a tile whose rows run along K instead: panels of 64 columns with rows of 128 bytes,
  /// swizzled.
  mlir::Value turnedDescriptor(mlir::Location loc, mlir::Value address, int64_t panelBytes);
  /// A descriptor, and what each 16 of K add to it, in units of 16 bytes.
  struct Operand {
    mlir::Value descriptor;
    llvm::SmallVector<int64_t> steps;
  };
  /// sums += a b^T, or with `turned` a b, of 64 rows and n columns, under way until finish();
  /// without sums they begin at zero.
  Sums begin(mlir::Location loc, int64_t n, const Operand& a, const Operand& b, bool turned,
             Sums sums);
  /// Waits until of all that began at most the last `later` are under way.
  Sums finish(mlir::Location loc, Sums sums, int64_t later);

 private:
  static constexpr int kSteps = 4;  // of 32 bytes in a swizzled row
  std::string steps(int64_t n, const std::string& types, int64_t sums, int64_t firstOperand,
                    int64_t pairs, bool adds, bool inTurn = false);
  void statement(mlir::Location loc, const std::string& text, const std::string& constraints,
                 mlir::ValueRange operands);
  void conditional(mlir::Location loc, const std::string& text, std::string constraints,
                   llvm::SmallVector<mlir::Value> operands, mlir::Value condition);
  Sums tied(mlir::Location loc, const std::string& text, Sums sums, mlir::ValueRange more,
            const std::string& moreConstraints);
  Sums fresh(mlir::Location loc, const std::string& text, int64_t count, mlir::ValueRange operands,
             const std::string& moreConstraints);

  mlir::OpBuilder& builder_;
};

}  // namespace tessera::compiler::simt
