// SPDX-License-Identifier: Apache-2.0
// Writes a Program: values are tensors, calls are operators over them by the names of their
// signatures.
//
//   ProgramBuilder b;
//   Value x = b.bound({DType::bf16, {T, D}}, buffer->address());
//   Value y = b.temporary(DType::bf16, {T, D});
//   b.call("rms_norm", {{"x", x}, {"w", w}, {"y", y}}, {{"eps", 1e-6}});
//   TESSERA_ASSIGN(Program program, std::move(b).build(operators));
//
// Mistakes (shapes that contradict, a temporary that is read before it is written) are kept and
// reported by build(), the first one with its call.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/model/program/arena_plan.h"
#include "tessera/model/program/operator_store.h"
#include "tessera/model/program/program.h"

namespace tessera::model {

/// A tensor of a program; the default one stands for an optional tensor left out.
struct Value {
  int32_t id = -1;
  explicit operator bool() const { return id >= 0; }
};

class ProgramBuilder {
 public:
  struct Operand {
    std::string_view name;
    Value value;
  };
  struct Attribute {
    std::string_view name;
    double value;
  };

  /// Memory that exists before the program and outlives it: weights, caches, tables, results.
  Value bound(ops::TensorDesc desc, uint64_t address);
  /// Dense memory of the arena, from the first call that names it to the last.
  Value temporary(DType dtype, Shape shape);
  /// The same elements in another shape; dense values only.
  Value reshaped(Value value, Shape shape);
  /// The first two dimensions exchanged; dense values only.
  Value transposed(Value value);
  /// Elements [start, start + extent) of one dimension.
  Value narrowed(Value value, int dim, int64_t start, int64_t extent);
  const ops::TensorDesc& desc(Value value) const;
  DType dtype(Value value) const { return desc(value).dtype; }
  const Shape& shape(Value value) const { return desc(value).shape; }

  /// Calls that follow count under this name.
  void section(std::string name);
  /// Sections that follow belong to this part of the model.
  void part(std::string name);
  /// Temporaries keep their memory to the end of their part, so that kernels of a part do not wait
  /// for each other's places (Program::capture).
  void keep_apart() { apart_ = true; }
  /// Appends an operator. Operands not named are absent optional tensors.
  void call(std::string_view op, std::span<const Operand> operands,
            std::initializer_list<Attribute> attributes = {});
  void call(std::string_view op, std::initializer_list<Operand> operands,
            std::initializer_list<Attribute> attributes = {}) {
    call(op, std::span(operands.begin(), operands.size()), attributes);
  }

  // What all ranks do together; on temporaries, dense ones. `comm` is absent where the program is
  // planned only.

  /// Replaces `value` by the reduction over the ranks.
  void all_reduce(Value value, comm::Reduction how, comm::Communicator* comm);
  /// Part r of `parts` along its first dimension, summed, becomes `own` of rank r.
  void reduce_scatter(Value parts, Value own, comm::Communicator* comm);
  /// `own` of rank r becomes part r of `parts` along its first dimension.
  void all_gather(Value own, Value parts, comm::Communicator* comm);
  /// Rows that other ranks want, there and back (communicator.h); `wanted` i32 [rows, ranks].
  void dispatch(Value own, Value all, Value wanted, comm::Communicator* comm);
  void combine(Value all, Value parts, Value wanted, comm::Communicator* comm);
  /// Replaces `value` by that of rank `root`.
  void broadcast(Value value, int root, comm::Communicator* comm);

  /// The operators called, in order.
  Result<std::span<const OperatorUse>> uses() const;
  /// Bytes of the arena build() would ask for; compiles nothing.
  Result<int64_t> arena_bytes(const Planning& planning) const;
  /// Fetches or compiles every operator in parallel.
  Result<Program> build(OperatorStore& operators) &&;

 private:
  struct Tensor {
    ops::TensorDesc desc;
    int storage;          // index into storages_
    int64_t byte_offset;  // from its start
  };
  struct Storage {
    uint64_t address = 0;       // of a bound one
    int64_t bytes = -1;         // of a temporary; -1: bound
    int first = -1, last = -1;  // calls that name it
  };
  struct Call {
    std::vector<Value> operands;           // by tensor of the signature; from, to, wanted
    std::optional<Collective> collective;  // else the next of uses_
  };
  /// `kind` and what belongs to it; types and sizes follow from the operands.
  void append(Collective collective, std::vector<Value> operands);
  std::optional<Error> check_collective(std::span<const Value> operands) const;
  /// Of every call; `of_uses` has those of operators.
  std::vector<int64_t> workspaces(std::span<const int64_t> of_uses) const;
  Value add(ops::TensorDesc desc, int storage, int64_t byte_offset);
  std::optional<Error> try_call(std::string_view op, std::span<const Operand> operands,
                                std::span<const Attribute> attributes);
  std::optional<Error> note_uses(const ops::Signature& signature, std::span<const Value> operands);
  /// Blocks of the temporaries in use, then the workspace of every call.
  std::vector<ArenaBlock> blocks(std::span<const int64_t> workspaces) const;

  std::vector<Tensor> tensors_;
  std::vector<Storage> storages_;
  std::vector<Call> calls_;
  std::vector<OperatorUse> uses_;  // of calls that are operators
  std::vector<ProgramSection> sections_;
  std::string part_;
  std::vector<int> part_begins_;  // first calls
  bool apart_ = false;
  std::optional<Error> error_;
};

}  // namespace tessera::model
