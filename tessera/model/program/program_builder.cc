// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/program_builder.h"

#include <fmt/format.h>

#include <algorithm>

namespace tessera::model {

Value ProgramBuilder::add(ops::TensorDesc desc, int storage, int64_t byte_offset) {
  tensors_.push_back({std::move(desc), storage, byte_offset});
  return {static_cast<int32_t>(tensors_.size()) - 1};
}

Value ProgramBuilder::bound(ops::TensorDesc desc, uint64_t address) {
  storages_.push_back({.address = address});
  return add(std::move(desc), static_cast<int>(storages_.size()) - 1, 0);
}

Value ProgramBuilder::temporary(DType dtype, Shape shape) {
  storages_.push_back({.bytes = size_in_bytes(dtype, shape.numel())});
  return add({dtype, shape}, static_cast<int>(storages_.size()) - 1, 0);
}

Value ProgramBuilder::reshaped(Value value, Shape shape) {
  const Tensor& tensor = tensors_[static_cast<size_t>(value.id)];
  TESSERA_CHECK(tensor.desc.strides.empty() && tensor.desc.shape.numel() == shape.numel(),
                "{} seen as {}", tensor.desc.shape.to_string(), shape.to_string());
  return add({tensor.desc.dtype, shape}, tensor.storage, tensor.byte_offset);
}

Value ProgramBuilder::transposed(Value value) {
  const Tensor tensor = tensors_[static_cast<size_t>(value.id)];
  ops::TensorDesc desc = tensor.desc;
  TESSERA_CHECK(desc.strides.empty() && desc.shape.rank() >= 2, "{} transposed",
                desc.shape.to_string());
  const auto dense = desc.shape.dense_strides();
  desc.strides.assign(dense.begin(), dense.begin() + desc.shape.rank());
  std::swap(desc.strides[0], desc.strides[1]);
  std::swap(desc.shape[0], desc.shape[1]);
  return add(std::move(desc), tensor.storage, tensor.byte_offset);
}

Value ProgramBuilder::narrowed(Value value, int dim, int64_t start, int64_t extent) {
  const Tensor tensor = tensors_[static_cast<size_t>(value.id)];
  const Shape& shape = tensor.desc.shape;
  TESSERA_CHECK(dim < shape.rank() && start >= 0 && extent >= 0 && start + extent <= shape[dim],
                "[{}, {}) of dimension {} of {}", start, start + extent, dim, shape.to_string());
  ops::TensorDesc desc = tensor.desc;
  const int64_t offset = size_in_bytes(desc.dtype, start * desc.stride(dim));
  if (dim > 0 && desc.strides.empty()) {
    const auto dense = shape.dense_strides();
    desc.strides.assign(dense.begin(), dense.begin() + shape.rank());
  }
  desc.shape[dim] = extent;
  return add(std::move(desc), tensor.storage, tensor.byte_offset + offset);
}

const ops::TensorDesc& ProgramBuilder::desc(Value value) const {
  TESSERA_CHECK(value, "an absent value has no shape");
  return tensors_[static_cast<size_t>(value.id)].desc;
}

void ProgramBuilder::section(std::string name) {
  if (!sections_.empty()) sections_.back().last = calls_.size();
  sections_.push_back({std::move(name), part_, calls_.size(), calls_.size(), {}, {}});
}

void ProgramBuilder::part(std::string name) {
  part_ = std::move(name);
  part_begins_.push_back(static_cast<int>(calls_.size()));
}

void ProgramBuilder::call(std::string_view op, std::span<const Operand> operands,
                          std::initializer_list<Attribute> attributes) {
  if (error_) return;
  error_ = try_call(op, operands, attributes);
  if (error_)
    error_->context.push_back(fmt::format("call {}{}", calls_.size(),
                                          sections_.empty() ? "" : " in " + sections_.back().name));
}

std::optional<Error> ProgramBuilder::try_call(std::string_view op,
                                              std::span<const Operand> operands,
                                              std::span<const Attribute> attributes) {
  auto found = ops::find_operator(op);
  if (!found.ok()) return std::move(found).error();
  const ops::Signature& signature = *(*found)->signature;
  std::vector<Value> values(signature.tensors.size());
  for (const Operand& operand : operands) {
    const auto spec = std::find_if(signature.tensors.begin(), signature.tensors.end(),
                                   [&](const auto& s) { return s.name == operand.name; });
    if (spec == signature.tensors.end())
      return invalid_argument(fmt::format("{}: no tensor {}", op, operand.name));
    values[static_cast<size_t>(spec - signature.tensors.begin())] = operand.value;
  }
  std::vector<std::optional<ops::TensorDesc>> descs;
  for (Value value : values) descs.push_back(value ? std::optional(desc(value)) : std::nullopt);
  std::map<std::string, double> numbers;
  for (const Attribute& attribute : attributes) numbers.emplace(attribute.name, attribute.value);
  auto problem = ops::Problem::from_tensors(signature, std::move(descs), std::move(numbers));
  if (!problem.ok()) return std::move(problem).error();
  if (auto error = note_uses(signature, values)) return error;
  if (!sections_.empty()) {
    const ops::Cost cost = (*found)->cost(*problem);
    sections_.back().cost.bytes_read += cost.bytes_read;
    sections_.back().cost.bytes_written += cost.bytes_written;
    sections_.back().cost.flops += cost.flops;
  }
  uses_.push_back({*found, std::move(*problem)});
  calls_.push_back({std::move(values), std::nullopt});
  return std::nullopt;
}

std::optional<Error> ProgramBuilder::check_collective(std::span<const Value> operands) const {
  const auto storage_of = [&](Value value) -> const Storage& {
    return storages_[static_cast<size_t>(tensors_[static_cast<size_t>(value.id)].storage)];
  };
  for (const Value value : operands) {
    if (!value) return internal_error("a collective on an absent value");
    if (storage_of(value).bytes < 0 || !desc(value).strides.empty())
      return internal_error(fmt::format("a collective on {}, which is not a dense temporary",
                                        desc(value).shape.to_string()));
  }
  for (const Value value : operands)
    if ((value.id != operands[1].id || operands[0].id == value.id) && storage_of(value).first < 0)
      return internal_error("a collective reads a temporary that nothing has written");
  return std::nullopt;
}

void ProgramBuilder::append(Collective collective, std::vector<Value> operands) {
  if (error_) return;
  error_ = check_collective(operands);
  if (error_) return;
  const auto bytes = [&](Value value) {
    const ops::TensorDesc& tensor = desc(value);
    return size_in_bytes(tensor.dtype, tensor.shape.numel());
  };
  for (const Value value : operands) {
    Storage& storage =
        storages_[static_cast<size_t>(tensors_[static_cast<size_t>(value.id)].storage)];
    const int number = static_cast<int>(calls_.size());
    if (storage.first < 0) storage.first = number;
    storage.last = number;
  }
  collective.dtype = dtype(operands[1]);
  collective.from_bytes = bytes(operands[0]);
  collective.to_bytes = bytes(operands[1]);
  if (operands.size() > 2) collective.wanted_bytes = bytes(operands[2]);
  calls_.push_back({std::move(operands), collective});
}

void ProgramBuilder::all_reduce(Value value, comm::Reduction how, comm::Communicator* comm) {
  append({.kind = Collective::Kind::all_reduce, .how = how, .comm = comm}, {value, value});
}

void ProgramBuilder::reduce_scatter(Value parts, Value own, comm::Communicator* comm) {
  append({.kind = Collective::Kind::reduce_scatter, .comm = comm}, {parts, own});
}

void ProgramBuilder::all_gather(Value own, Value parts, comm::Communicator* comm) {
  append({.kind = Collective::Kind::all_gather, .comm = comm}, {own, parts});
}

void ProgramBuilder::dispatch(Value own, Value all, Value wanted, comm::Communicator* comm) {
  append({.kind = Collective::Kind::dispatch, .comm = comm}, {own, all, wanted});
}

void ProgramBuilder::combine(Value all, Value parts, Value wanted, comm::Communicator* comm) {
  append({.kind = Collective::Kind::combine, .comm = comm}, {all, parts, wanted});
}

void ProgramBuilder::broadcast(Value value, int root, comm::Communicator* comm) {
  append({.kind = Collective::Kind::broadcast, .root = root, .comm = comm}, {value, value});
}

std::vector<int64_t> ProgramBuilder::workspaces(std::span<const int64_t> of_uses) const {
  std::vector<int64_t> all;
  size_t use = 0;
  for (const Call& call : calls_) all.push_back(call.collective ? 0 : of_uses[use++]);
  return all;
}

std::optional<Error> ProgramBuilder::note_uses(const ops::Signature& signature,
                                               std::span<const Value> operands) {
  const int number = static_cast<int>(calls_.size());
  for (size_t i = 0; i < operands.size(); ++i) {
    if (!operands[i]) continue;
    Storage& storage =
        storages_[static_cast<size_t>(tensors_[static_cast<size_t>(operands[i].id)].storage)];
    if (storage.first < 0 && storage.bytes >= 0 &&
        signature.tensors[i].access == ops::Access::kRead)
      return internal_error(fmt::format("{} reads {}, a temporary that nothing has written",
                                        signature.name, signature.tensors[i].name));
    if (storage.first < 0) storage.first = number;
    storage.last = number;
  }
  return std::nullopt;
}

std::vector<ArenaBlock> ProgramBuilder::blocks(std::span<const int64_t> workspaces) const {
  const auto last_of = [&](int call) {
    if (!apart_) return call;
    const auto next = std::ranges::upper_bound(part_begins_, call);
    return (next == part_begins_.end() ? static_cast<int>(calls_.size()) : *next) - 1;
  };
  std::vector<ArenaBlock> all;
  for (const Storage& storage : storages_)
    all.push_back({storage.first < 0 ? 0 : std::max<int64_t>(storage.bytes, 0), storage.first,
                   last_of(storage.last)});
  for (size_t i = 0; i < workspaces.size(); ++i)
    all.push_back({workspaces[i], static_cast<int>(i), last_of(static_cast<int>(i))});
  return all;
}

Result<std::span<const OperatorUse>> ProgramBuilder::uses() const {
  if (error_) return Error(*error_);
  return std::span<const OperatorUse>(uses_);
}

Result<int64_t> ProgramBuilder::arena_bytes(const Planning& planning) const {
  if (error_) return Error(*error_);
  return plan_arena(blocks(workspaces(workspace_bytes(uses_, planning)))).bytes;
}

Result<Program> ProgramBuilder::build(OperatorStore& operators) && {
  if (error_) return std::move(*error_);
  if (!sections_.empty()) sections_.back().last = calls_.size();
  TESSERA_ASSIGN(auto prepared, operators.get(uses_));
  std::vector<int64_t> of_uses;
  for (const auto& op : prepared) of_uses.push_back(op->workspace_bytes());
  const ArenaPlan plan = plan_arena(blocks(workspaces(of_uses)));

  Program program;
  program.arena_bytes_ = plan.bytes;
  program.sections_ = std::move(sections_);
  size_t use = 0, section = 0;
  for (size_t i = 0; i < calls_.size(); ++i) {
    while (section + 1 < program.sections_.size() && program.sections_[section].last <= i)
      ++section;
    Program::Call call;
    call.section = section;
    call.collective = calls_[i].collective;
    if (!call.collective) {
      call.use = use;
      call.op = std::move(prepared[use++]);
    }
    for (Value value : calls_[i].operands) {
      uint64_t address = 0;
      int64_t offset = -1;
      if (value) {
        const Tensor& tensor = tensors_[static_cast<size_t>(value.id)];
        const Storage& storage = storages_[static_cast<size_t>(tensor.storage)];
        if (storage.bytes < 0)
          address = storage.address + static_cast<uint64_t>(tensor.byte_offset);
        else
          offset = plan.offsets[static_cast<size_t>(tensor.storage)] + tensor.byte_offset;
      }
      call.addresses.push_back(address);
      call.arena_offset.push_back(offset);
    }
    call.workspace_offset = plan.offsets[storages_.size() + i];
    program.calls_.push_back(std::move(call));
  }
  program.uses_ = std::move(uses_);
  return program;
}

}  // namespace tessera::model
