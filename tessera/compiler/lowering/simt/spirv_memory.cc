// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/spirv_memory.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "tessera/base/check.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace spirv = mlir::spirv;
using mlir::Location;
using mlir::Type;
using mlir::Value;
using spirv::StorageClass;

namespace {

/// A block of numbers of 64 bits.
Type blockOf(mlir::OpBuilder& builder, int64_t count) {
  const llvm::SmallVector<Type> members(static_cast<size_t>(count), builder.getI64Type());
  llvm::SmallVector<uint32_t> offsets;
  for (int64_t i = 0; i < count; ++i) offsets.push_back(static_cast<uint32_t>(8 * i));
  return spirv::StructType::get(
      members, offsets, {},
      {{spirv::Decoration::Block, mlir::UnitAttr::get(builder.getContext())}});
}

}  // namespace

SpirvMemory::SpirvMemory(mlir::OpBuilder& builder, spirv::ModuleOp module, mlir::Block* entry,
                         int64_t slotCount)
    : ThreadMemory(builder), module_(module), entry_(entry) {
  constants_ = declare("push_constants", blockOf(builder, 3), StorageClass::PushConstant);
  if (slotCount > 0) {
    arguments_ = declare("arguments", blockOf(builder, slotCount), StorageClass::Uniform);
    arguments_->setAttr("descriptor_set", builder.getI32IntegerAttr(0));
    arguments_->setAttr("binding", builder.getI32IntegerAttr(0));
  }
  const Type i32 = builder.getI32Type(), three = mlir::VectorType::get({3}, i32);
  workgroupId_ = declareBuiltin("workgroup_id", "WorkgroupId", three);
  workgroupCount_ = declareBuiltin("workgroup_count", "NumWorkgroups", three);
  subgroupId_ = declareBuiltin("subgroup_id", "SubgroupId", i32);
  subgroupSize_ = declareBuiltin("subgroup_size", "SubgroupSize", i32);
  lane_ = declareBuiltin("lane", "SubgroupLocalInvocationId", i32);
}

spirv::GlobalVariableOp SpirvMemory::declare(llvm::StringRef name, Type type, StorageClass space) {
  mlir::OpBuilder::InsertionGuard guard(builder_);
  builder_.setInsertionPointToStart(module_.getBody());
  return spirv::GlobalVariableOp::create(builder_, module_.getLoc(),
                                         spirv::PointerType::get(type, space), name,
                                         mlir::FlatSymbolRefAttr());
}

spirv::GlobalVariableOp SpirvMemory::declareBuiltin(llvm::StringRef name, llvm::StringRef builtin,
                                                    Type type) {
  auto variable = declare(name, type, StorageClass::Input);
  variable->setAttr("built_in", builder_.getStringAttr(builtin));
  return variable;
}

llvm::SmallVector<spirv::GlobalVariableOp> SpirvMemory::interface() const {
  llvm::SmallVector<spirv::GlobalVariableOp> used = {workgroupId_, workgroupCount_, subgroupId_,
                                                     subgroupSize_, lane_};
  // From SPIR-V 1.4 on every variable is listed.
  used.push_back(constants_);
  if (arguments_) used.push_back(arguments_);
  if (shared_) used.push_back(shared_);
  return used;
}

Value SpirvMemory::member(Location loc, spirv::GlobalVariableOp block, int64_t index) {
  const Value base = spirv::AddressOfOp::create(builder_, loc, block);
  const Value number =
      spirv::ConstantOp::create(builder_, loc, builder_.getI32Type(),
                                builder_.getI32IntegerAttr(static_cast<int32_t>(index)));
  const Value pointer = spirv::AccessChainOp::create(builder_, loc, base, mlir::ValueRange{number});
  return spirv::LoadOp::create(builder_, loc, pointer);
}

Value SpirvMemory::slots(Location loc) {
  if (firstSlot_) return firstSlot_;
  mlir::OpBuilder::InsertionGuard guard(builder_);
  builder_.setInsertionPointToStart(entry_);
  firstSlot_ = pushConstant(loc, 0);
  return firstSlot_;
}

Value SpirvMemory::slot(Location loc, uint32_t index) {
  Value& known = slots_[index];
  if (known) return known;
  mlir::OpBuilder::InsertionGuard guard(builder_);
  builder_.setInsertionPointToStart(entry_);
  known = member(loc, arguments_, index);
  return known;
}

Value SpirvMemory::builtin(Location loc, spirv::GlobalVariableOp variable) {
  const Value vector =
      spirv::LoadOp::create(builder_, loc, spirv::AddressOfOp::create(builder_, loc, variable));
  return spirv::CompositeExtractOp::create(builder_, loc, vector, llvm::ArrayRef<int32_t>{0});
}

Value SpirvMemory::workgroup(Location loc) {
  return arith::ExtUIOp::create(builder_, loc, builder_.getI64Type(), builtin(loc, workgroupId_));
}
Value SpirvMemory::workgroupCount(Location loc) {
  return arith::ExtUIOp::create(builder_, loc, builder_.getI64Type(),
                                builtin(loc, workgroupCount_));
}
Value SpirvMemory::read(Location loc, spirv::GlobalVariableOp variable) {
  return spirv::LoadOp::create(builder_, loc, spirv::AddressOfOp::create(builder_, loc, variable));
}
/// So that neighbours in a subgroup have neighbouring numbers, whatever the device's order.
Value SpirvMemory::threadId(Location loc) {
  const Value first =
      arith::MulIOp::create(builder_, loc, read(loc, subgroupId_), read(loc, subgroupSize_));
  return arith::AddIOp::create(builder_, loc, first, read(loc, lane_));
}

bool SpirvMemory::hasVulkanModel() const {
  return spirv::ModuleOp(module_).getMemoryModel() == spirv::MemoryModel::Vulkan;
}

/// What other threads may read or write: in the Vulkan memory model accesses say so themselves.
spirv::MemoryAccessAttr SpirvMemory::shared(spirv::MemoryAccess access) const {
  if (hasVulkanModel()) access = access | spirv::MemoryAccess::NonPrivatePointer;
  return access == spirv::MemoryAccess::None
             ? spirv::MemoryAccessAttr()
             : spirv::MemoryAccessAttr::get(builder_.getContext(), access);
}

/// The host knows before it makes a pipeline, so a driver compiles one version of the kernel: a
/// specialisation constant numbered by the slot stands for each address.
Value SpirvMemory::slotsAligned(Location loc, llvm::ArrayRef<uint32_t> slots, int64_t) {
  Value all;
  for (uint32_t index : slots) {
    const std::string name = "aligned_" + std::to_string(index);
    {
      mlir::OpBuilder::InsertionGuard guard(builder_);
      builder_.setInsertionPointToStart(module_.getBody());
      auto constant = spirv::SpecConstantOp::create(
          builder_, module_.getLoc(), builder_.getStringAttr(name), builder_.getBoolAttr(true));
      constant->setAttr("spec_id", builder_.getI32IntegerAttr(static_cast<int32_t>(index)));
    }
    const Value aligned = spirv::ReferenceOfOp::create(builder_, loc, builder_.getI1Type(), name);
    all = all ? Value(arith::AndIOp::create(builder_, loc, all, aligned)) : aligned;
  }
  return all;
}

void SpirvMemory::barrier(Location loc) {
  auto semantics = spirv::MemorySemantics::AcquireRelease |
                   spirv::MemorySemantics::WorkgroupMemory | spirv::MemorySemantics::UniformMemory;
  if (hasVulkanModel())
    semantics =
        semantics | spirv::MemorySemantics::MakeAvailable | spirv::MemorySemantics::MakeVisible;
  spirv::ControlBarrierOp::create(builder_, loc, spirv::Scope::Workgroup, spirv::Scope::Workgroup,
                                  semantics);
}

Value SpirvMemory::globalPointer(Location loc, Type type, Value address) {
  return spirv::ConvertUToPtrOp::create(
      builder_, loc, spirv::PointerType::get(type, StorageClass::PhysicalStorageBuffer), address);
}

namespace {

int32_t bytesOf(Type type) {
  if (auto vector = llvm::dyn_cast<mlir::VectorType>(type))
    return static_cast<int32_t>(vector.getNumElements()) * bytesOf(vector.getElementType());
  return static_cast<int32_t>(type.getIntOrFloatBitWidth() / 8);
}

/// What `count` units are accessed as. Drivers may split vectors, so two words are one integer.
Type accessType(Type unit, int64_t count) {
  if (count == 1) return unit;
  if (count == 2) return mlir::IntegerType::get(unit.getContext(), 64);
  return mlir::VectorType::get({count}, unit);
}

}  // namespace

Value SpirvMemory::loadOne(Location loc, Type type, Value address, Caching caching) {
  const auto access =
      caching == Caching::kReadOnly
          ? spirv::MemoryAccessAttr::get(builder_.getContext(), spirv::MemoryAccess::Aligned)
          : shared(spirv::MemoryAccess::Aligned);
  return spirv::LoadOp::create(builder_, loc, globalPointer(loc, type, address), access,
                               builder_.getI32IntegerAttr(bytesOf(type)));
}

SpirvMemory::Units SpirvMemory::loadGlobal(Location loc, Type unit, int64_t count, Value address,
                                           Value inside, Value fill, Caching caching) {
  // Without branches, which drivers compile slowly: what is outside reads the argument slots.
  if (inside) address = builder_.createOrFold<arith::SelectOp>(loc, inside, address, slots(loc));
  const Value all = loadOne(loc, accessType(unit, count), address, caching);
  Units units = partsOf(loc, all, count);
  if (inside)
    for (Value& unit : units)
      unit = builder_.createOrFold<arith::SelectOp>(loc, inside, unit, fill);
  return units;
}

SpirvMemory::Units SpirvMemory::partsOf(Location loc, Value all, int64_t count) {
  if (count == 1) return {all};
  if (count == 2) {
    const Type word = builder_.getI32Type();
    const Value half = arith::ConstantOp::create(builder_, loc, builder_.getI64IntegerAttr(32));
    const Value upper = arith::ShRUIOp::create(builder_, loc, all, half);
    return {arith::TruncIOp::create(builder_, loc, word, all),
            arith::TruncIOp::create(builder_, loc, word, upper)};
  }
  Units parts;
  for (int32_t i = 0; i < count; ++i)
    parts.push_back(spirv::CompositeExtractOp::create(builder_, loc, all, llvm::ArrayRef(i)));
  return parts;
}

Value SpirvMemory::joined(Location loc, mlir::ValueRange units) {
  if (units.size() == 1) return units.front();
  const Type type = accessType(units.front().getType(), static_cast<int64_t>(units.size()));
  if (units.size() > 2) return spirv::CompositeConstructOp::create(builder_, loc, type, units);
  const Value half = arith::ConstantOp::create(builder_, loc, builder_.getI64IntegerAttr(32));
  const Value low = arith::ExtUIOp::create(builder_, loc, type, units[0]);
  const Value high = arith::ExtUIOp::create(builder_, loc, type, units[1]);
  return arith::OrIOp::create(builder_, loc, low, arith::ShLIOp::create(builder_, loc, high, half));
}

void SpirvMemory::storeGlobal(Location loc, mlir::ValueRange units, Value address, Value inside,
                              Caching) {
  mlir::OpBuilder::InsertionGuard guard(builder_);
  if (inside) {
    auto branch = mlir::scf::IfOp::create(builder_, loc, inside, /*withElseRegion=*/false);
    builder_.setInsertionPoint(branch.thenBlock()->getTerminator());
  }
  const Value all = joined(loc, units);
  spirv::StoreOp::create(builder_, loc, globalPointer(loc, all.getType(), address), all,
                         shared(spirv::MemoryAccess::Aligned),
                         builder_.getI32IntegerAttr(bytesOf(all.getType())));
}

Value SpirvMemory::sharedAddress(Location, const Array&) {
  TESSERA_UNREACHABLE("SPIR-V's instructions take pointers");
}

Value SpirvMemory::fromLane(Location loc, Value value, int laneBits, int lane) {
  const auto constant = [&](int32_t number) {
    return arith::ConstantOp::create(builder_, loc, builder_.getI32IntegerAttr(number));
  };
  const Value first =
      arith::AndIOp::create(builder_, loc, read(loc, lane_), constant(-(1 << laneBits)));
  return spirv::GroupNonUniformShuffleOp::create(
      builder_, loc, value.getType(), spirv::Scope::Subgroup, value,
      arith::OrIOp::create(builder_, loc, first, constant(lane)));
}

Value SpirvMemory::exchange(Location loc, Value value, int laneBit) {
  const Value mask =
      arith::ConstantOp::create(builder_, loc, builder_.getI32IntegerAttr(1 << laneBit));
  return spirv::GroupNonUniformShuffleXorOp::create(builder_, loc, value.getType(),
                                                    spirv::Scope::Subgroup, value, mask);
}

void SpirvMemory::atomicAddGlobal(Location loc, Value value, Value address) {
  spirv::AtomicIAddOp::create(builder_, loc, value.getType(),
                              globalPointer(loc, value.getType(), address),
                              // Wider scopes are a feature of its own in the Vulkan memory model.
                              hasVulkanModel() ? spirv::Scope::QueueFamily : spirv::Scope::Device,
                              spirv::MemorySemantics::None, value);
}

void SpirvMemory::atomicAddShared(Location loc, Value value, const Array& array, Value index) {
  spirv::AtomicIAddOp::create(builder_, loc, value.getType(), wordPointer(loc, array, index),
                              spirv::Scope::Workgroup, spirv::MemorySemantics::None, value);
}

void SpirvMemory::setSharedWords(int64_t words) {
  if (!shared_) return;
  const int64_t units = hasVulkanModel() ? (words + kPieceWords - 1) / kPieceWords : words;
  const auto array = spirv::ArrayType::get(sharedUnit(), static_cast<unsigned>(units));
  const auto pointer = spirv::PointerType::get(array, StorageClass::Workgroup);
  shared_.setType(pointer);
  module_.walk([&](spirv::AddressOfOp op) {
    if (op.getVariable() == shared_.getSymName()) op.getResult().setType(pointer);
  });
}

Value SpirvMemory::sharedWords(Location loc, int64_t firstWord) {
  if (!shared_)
    shared_ = declare("workgroup_memory", spirv::ArrayType::get(sharedUnit(), 1),
                      StorageClass::Workgroup);
  // The base of a shared array is its first word: all of them live in one variable.
  return arith::ConstantOp::create(builder_, loc,
                                   builder_.getI32IntegerAttr(static_cast<int32_t>(firstWord)));
}

/// With cooperative matrices the memory is made of pieces, so that accesses to one are single
/// instructions.
Type SpirvMemory::sharedUnit() const {
  return hasVulkanModel() ? accessType(builder_.getI32Type(), kPieceWords) : builder_.getI32Type();
}

Value SpirvMemory::sharedUnitPointer(Location loc, mlir::ValueRange indices, Type type) {
  const Value base = spirv::AddressOfOp::create(builder_, loc, shared_);
  const auto pointer = spirv::PointerType::get(type, StorageClass::Workgroup);
  return spirv::AccessChainOp::create(builder_, loc, pointer, base, indices);
}

Value SpirvMemory::wordPointer(Location loc, const Array& array, Value word) {
  const Type i32 = builder_.getI32Type();
  const Value index = builder_.createOrFold<arith::AddIOp>(loc, array.base, word);
  if (!hasVulkanModel()) return sharedUnitPointer(loc, index, i32);
  const auto constant = [&](int32_t value) {
    return arith::ConstantOp::create(builder_, loc, builder_.getI32IntegerAttr(value));
  };
  const Value piece = builder_.createOrFold<arith::ShRUIOp>(loc, index, constant(2));
  const Value inPiece = builder_.createOrFold<arith::AndIOp>(loc, index, constant(3));
  return sharedUnitPointer(loc, {piece, inPiece}, i32);
}

Value SpirvMemory::piecePointer(Location loc, const Array& array, Value word) {
  const Value index = builder_.createOrFold<arith::AddIOp>(loc, array.base, word);
  const Value two = arith::ConstantOp::create(builder_, loc, builder_.getI32IntegerAttr(2));
  return sharedUnitPointer(loc, builder_.createOrFold<arith::ShRUIOp>(loc, index, two),
                           sharedUnit());
}

SpirvMemory::Units SpirvMemory::loadPiece(Location loc, const Array& array, Value word) {
  return partsOf(loc,
                 spirv::LoadOp::create(builder_, loc, piecePointer(loc, array, word),
                                       shared(spirv::MemoryAccess::None)),
                 kPieceWords);
}

void SpirvMemory::storePiece(Location loc, mlir::ValueRange words, const Array& array, Value word) {
  const Value all = spirv::CompositeConstructOp::create(builder_, loc, sharedUnit(), words);
  spirv::StoreOp::create(builder_, loc, piecePointer(loc, array, word), all,
                         shared(spirv::MemoryAccess::None), mlir::IntegerAttr());
}

Value SpirvMemory::loadWord(Location loc, const Array& array, Value word) {
  return spirv::LoadOp::create(builder_, loc, wordPointer(loc, array, word),
                               shared(spirv::MemoryAccess::None));
}

void SpirvMemory::storeWord(Location loc, Value value, const Array& array, Value word) {
  spirv::StoreOp::create(builder_, loc, wordPointer(loc, array, word), value,
                         shared(spirv::MemoryAccess::None), mlir::IntegerAttr());
}

}  // namespace tessera::compiler::simt
