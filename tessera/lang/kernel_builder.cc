// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/kernel_builder.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/lang/operands.h"
#include "tessera/lang/type_check.h"

namespace tessera::lang {
namespace {

constexpr size_t kMaxMistakes = 25;  // reported in full; more are counted

/// The part of a path from the include root on.
std::string_view source_path(const char* file) {
  std::string_view path = file;
  const size_t root = path.rfind("/tessera/");
  return root == std::string_view::npos ? path : path.substr(root + 1);
}

}  // namespace

/// A block that records nodes until it goes out of scope.
class KernelBuilder::Scope {
 public:
  Scope(KernelBuilder& k, Block& block) : k_(k) {
    k_.open_blocks_.push_back(&block);
    k_.open_serials_.push_back(static_cast<uint32_t>(k_.is_open_.size()));
    k_.is_open_.push_back(true);
  }
  ~Scope() {
    k_.is_open_[k_.open_serials_.back()] = false;
    k_.open_serials_.pop_back();
    k_.open_blocks_.pop_back();
  }

 private:
  KernelBuilder& k_;
};

KernelBuilder::KernelBuilder(std::string name) {
  trace_.name = std::move(name);
  open_blocks_.push_back(&trace_.body);
  open_serials_.push_back(0);
  is_open_.push_back(true);
}

// ---- arguments ----

void KernelBuilder::check_name(std::string_view what, const std::string& name,
                               std::source_location at) {
  const auto taken = [&](const auto& declarations) {
    return std::ranges::any_of(declarations, [&](const auto& decl) { return decl.name == name; });
  };
  if (name.empty()) mistake(at, fmt::format("{}: the name is empty", what));
  if (taken(trace_.views) || taken(trace_.scalars))
    mistake(at, fmt::format("{}: an argument is already named '{}'", what, name));
}

void KernelBuilder::check_divisors(std::string_view what, std::span<const Divisor> divisors,
                                   size_t count, std::source_location at) {
  if (!divisors.empty() && divisors.size() != count)
    mistake(at, fmt::format("{}: {} divisors where {} or none are expected", what, divisors.size(),
                            count));
  for (Divisor d : divisors)
    if (!is_divisor(d))
      mistake(at,
              fmt::format("{}: divisor {} is not one of 0 (the number is 1), 1, 2, 4, 8, 16, 128",
                          what, d));
}

View KernelBuilder::view(std::string name, DType dtype, int rank, Access access, ViewTraits traits,
                         std::source_location at) {
  const std::string what = fmt::format("view '{}'", name);
  check_name(what, name, at);
  if (rank < 1 || rank > kMaxViewRank) {
    mistake(at,
            fmt::format("{}: rank {}; views have 1 to {} dimensions", what, rank, kMaxViewRank));
    rank = std::clamp(rank, 1, kMaxViewRank);
  }
  if (dtype == DType::i1) mistake(at, fmt::format("{}: i1 has no form in memory; use u8", what));
  if (!is_kernel_dtype(dtype)) mistake(at, fmt::format("{}: f64 has no place in a kernel", what));
  const auto extents = static_cast<size_t>(rank);
  check_divisors(what + " extents", traits.extent_divisors, extents, at);
  check_divisors(what + " strides", traits.stride_divisors, extents - 1, at);
  ViewDecl decl{.name = std::move(name),
                .dtype = dtype,
                .access = access,
                .extent_divisors = std::move(traits.extent_divisors),
                .stride_divisors = std::move(traits.stride_divisors),
                .constant = traits.constant,
                .streamed = traits.streamed,
                .first_slot = next_slot_};
  decl.extent_divisors.resize(extents, 1);
  decl.stride_divisors.resize(extents - 1, 1);
  next_slot_ += decl.slot_count();
  trace_.views.push_back(std::move(decl));
  return View(this, static_cast<uint32_t>(trace_.views.size() - 1), rank);
}

Tile KernelBuilder::scalar(std::string name, DType dtype, Divisor divisor,
                           std::source_location at) {
  const std::string what = fmt::format("scalar '{}'", name);
  check_name(what, name, at);
  check_divisors(what, {&divisor, 1}, 1, at);
  if (!is_arithmetic(dtype))
    return mistake(
        at, fmt::format("{}: {} is not one of f32, i32, u32, i64", what, tessera::name(dtype)));
  trace_.scalars.push_back({std::move(name), dtype, divisor, next_slot_++});
  return emit1(Opcode::kScalarArg, {}, {dtype, {}},
               {static_cast<int64_t>(trace_.scalars.size() - 1)}, at);
}

Tile KernelBuilder::program_id(int axis, std::source_location at) {
  return emit1(Opcode::kProgramId, {}, {DType::i64, {}}, {axis}, at);
}

Tile KernelBuilder::num_programs(int axis, std::source_location at) {
  return emit1(Opcode::kNumPrograms, {}, {DType::i64, {}}, {axis}, at);
}

Tile KernelBuilder::constant(DType dtype, TileShape shape, Operand number) {
  if (!number.is_number)
    return mistake(number.where,
                   "constant: the value is a tile; pass a C++ number, or use broadcast()");
  return detail::as_tile(*this, "constant", number, {dtype, shape});
}

Tile KernelBuilder::iota(TileShape shape, int axis, std::source_location at) {
  return emit1(Opcode::kIota, {}, {DType::i32, shape}, {axis}, at);
}

// ---- control ----

std::vector<ValueId> KernelBuilder::yields(std::string_view what, std::span<const Tile> tiles,
                                           std::span<const Tile> expected,
                                           std::source_location at) {
  std::vector<ValueId> ids;
  if (tiles.size() != expected.size()) {
    mistake(at, fmt::format("{}: {} values where {} are expected", what, tiles.size(),
                            expected.size()));
    return ids;
  }
  for (size_t i = 0; i < tiles.size(); ++i) {
    if (!usable(Opcode::kFor, tiles[i], at) || expected[i].is_poison()) continue;
    const TileType &have = type(tiles[i].id()), &want = type(expected[i].id());
    if (have == want) {
      ids.push_back(tiles[i].id());
    } else {
      mistake(at, fmt::format("{}: value {} is {} where {} is expected", what, i, have.to_string(),
                              want.to_string()));
    }
  }
  return ids;
}

std::vector<Tile> KernelBuilder::loop(Operand lo, Operand hi, Operand step,
                                      std::span<const Tile> init, const LoopBody& body) {
  const std::source_location at = lo.where;
  if (step.is_number && step.number <= 0)
    mistake(at, fmt::format("for_range: step {} is not positive", step.number));
  std::vector<Tile> operands = {detail::as_index(*this, "for_range", "the lower bound", lo),
                                detail::as_index(*this, "for_range", "the upper bound", hi),
                                detail::as_index(*this, "for_range", "the step", step)};
  operands.insert(operands.end(), init.begin(), init.end());
  if (open_blocks_.size() > kMaxNesting) {
    mistake(at, fmt::format("for_range: more than {} nested loops and branches", kMaxNesting));
    return std::vector<Tile>(init.size(), poison());
  }

  std::vector<Block> regions(1);
  std::vector<TileType> types;
  {
    Scope scope(*this, regions[0]);
    const Tile index(this, new_value({DType::i64, {}}));
    regions[0].params.push_back(index.id());
    std::vector<Tile> carried;
    for (Tile tile : init) {
      const bool good = usable(Opcode::kFor, tile, at);
      carried.push_back(good ? Tile(this, new_value(type(tile.id()))) : poison());
      if (good) regions[0].params.push_back(carried.back().id());
      types.push_back(good ? type(tile.id()) : TileType{});
    }
    const std::vector<Tile> next = body(index, carried);
    regions[0].yields = yields("for_range: at the end of the body", next, carried, at);
  }
  return emit(Opcode::kFor, operands, types, {}, at, std::move(regions));
}

std::vector<Tile> KernelBuilder::branch(Operand condition, const Branch& then,
                                        const Branch& otherwise) {
  const std::source_location at = condition.where;
  const Tile flag = detail::as_tile(*this, "if_", condition, {DType::i1, {}});
  if (open_blocks_.size() > kMaxNesting) {
    mistake(at, fmt::format("if_: more than {} nested loops and branches", kMaxNesting));
    return {};
  }
  std::vector<Block> regions(2);
  std::vector<Tile> first;
  std::vector<TileType> types;
  {
    Scope scope(*this, regions[0]);
    first = then();
    regions[0].yields = yields("if_: first branch", first, first, at);
    for (Tile tile : first) types.push_back(tile.is_poison() ? TileType{} : type(tile.id()));
  }
  {
    Scope scope(*this, regions[1]);
    regions[1].yields = yields("if_: second branch", otherwise(), first, at);
  }
  const bool good = std::ranges::none_of(first, [](Tile t) { return t.is_poison(); });
  if (!good) return std::vector<Tile>(first.size(), poison());
  return emit(Opcode::kIf, {&flag, 1}, types, {}, at, std::move(regions));
}

// ---- nodes ----

const TileType& KernelBuilder::type(ValueId id) const {
  static const TileType kNone;
  return id < 0 || static_cast<size_t>(id) >= trace_.values.size()
             ? kNone
             : trace_.values[static_cast<size_t>(id)];
}

ValueId KernelBuilder::new_value(TileType type) {
  trace_.values.push_back(type);
  defined_in_.push_back(open_serials_.back());
  constants_.emplace_back();
  return static_cast<ValueId>(trace_.values.size() - 1);
}

uint32_t KernelBuilder::line_index(std::source_location at) {
  const std::string_view file = source_path(at.file_name());
  for (size_t i = trace_.lines.size(); i-- > 0;)  // the last lines are the likeliest
    if (trace_.lines[i].line == at.line() && trace_.lines[i].file == file)
      return static_cast<uint32_t>(i);
  trace_.lines.push_back({std::string(file), at.line()});
  return static_cast<uint32_t>(trace_.lines.size() - 1);
}

bool KernelBuilder::usable(Opcode op, Tile operand, std::source_location at) {
  if (operand.builder() == nullptr) {
    mistake(at, fmt::format("{}: an operand is an empty Tile, never given a value", mnemonic(op)));
    return false;
  }
  if (operand.builder() != this) {
    mistake(at, fmt::format("{}: an operand belongs to another kernel", mnemonic(op)));
    return false;
  }
  if (operand.is_poison()) return false;
  if (is_open_[defined_in_[static_cast<size_t>(operand.id())]]) return true;
  mistake(
      at,
      fmt::format(
          "{}: {} was made inside a for_range or if_ body that has ended; carry it out of there",
          mnemonic(op), type(operand.id()).to_string()));
  return false;
}

std::vector<Tile> KernelBuilder::emit(Opcode op, std::span<const Tile> operands,
                                      std::span<const TileType> results, std::vector<int64_t> ints,
                                      std::source_location at, std::vector<Block> regions) {
  std::vector<Tile> tiles(results.size(), poison());
  Node node;
  node.op = op;
  node.ints = std::move(ints);
  node.regions = std::move(regions);
  std::vector<TileType> types;
  for (Tile operand : operands) {
    if (!usable(op, operand, at)) return tiles;
    node.operands.push_back(operand.id());
    types.push_back(type(operand.id()));
  }
  if (std::string text = check_node(trace_, {op, types, results, node.ints}); !text.empty()) {
    mistake(at, std::move(text));
    return tiles;
  }
  for (size_t i = 0; i < results.size(); ++i) {
    tiles[i] = Tile(this, new_value(results[i]));
    node.results.push_back(tiles[i].id());
  }
  if (op == Opcode::kConstant) constants_.back() = node.ints[0];
  node.line = line_index(at);
  open_blocks_.back()->nodes.push_back(std::move(node));
  return tiles;
}

Tile KernelBuilder::emit1(Opcode op, std::initializer_list<Tile> operands, TileType result,
                          std::vector<int64_t> ints, std::source_location at) {
  return emit(op, {operands.begin(), operands.size()}, {&result, 1}, std::move(ints), at)[0];
}

Tile KernelBuilder::mistake(std::source_location at, std::string message) {
  std::string text = fmt::format("{}:{}: {}", source_path(at.file_name()), at.line(), message);
  if (std::ranges::find(mistakes_, text) == mistakes_.end()) mistakes_.push_back(std::move(text));
  return poison();
}

Result<Trace> KernelBuilder::finish() && {
  if (!mistakes_.empty()) {
    std::string text = fmt::format("kernel '{}': {} mistake{}", trace_.name, mistakes_.size(),
                                   mistakes_.size() == 1 ? "" : "s");
    for (size_t i = 0; i < mistakes_.size() && i < kMaxMistakes; ++i) text += "\n  " + mistakes_[i];
    if (mistakes_.size() > kMaxMistakes)
      text += fmt::format("\n  and {} more", mistakes_.size() - kMaxMistakes);
    return invalid_argument(std::move(text));
  }
  trace_.slot_count = next_slot_;
  TESSERA_TRY(check_trace(trace_));
  return std::move(trace_);
}

Result<Trace> trace_kernel(std::string name, const std::function<void(KernelBuilder&)>& body) {
  KernelBuilder builder(std::move(name));
  body(builder);
  return std::move(builder).finish();
}

}  // namespace tessera::lang
