// SPDX-License-Identifier: Apache-2.0
// The bytes of a trace: little-endian, fixed widths, counts before lists. Changing the layout or
// the meaning of an opcode raises kVersion, which makes old packs and caches miss.
#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <type_traits>

#include "tessera/lang/trace.h"
#include "tessera/lang/type_check.h"

namespace tessera::lang {
namespace {

constexpr uint32_t kMagic = 0x43525454;  // "TTRC"
constexpr uint32_t kVersion = 2;
static_assert(std::endian::native == std::endian::little);

class Writer {
 public:
  template <class T>
    requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  void put(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof(T));
  }
  void put(const std::string& text) {
    put(static_cast<uint32_t>(text.size()));
    for (char c : text) bytes_.push_back(static_cast<std::byte>(c));
  }
  template <class T>
  void put(const std::vector<T>& values) {
    put(static_cast<uint32_t>(values.size()));
    for (const T& value : values) put(value);
  }
  void put(const TileType& type) {
    put(type.dtype);
    put(static_cast<uint8_t>(type.shape.rank()));
    for (int64_t d : type.shape.dims()) put(d);
  }
  void put(const ViewDecl& view) {
    put(view.name);
    put(view.dtype);
    put(view.access);
    put(view.extent_divisors);
    put(view.stride_divisors);
    put(static_cast<uint8_t>(view.constant | view.streamed << 1));
    put(view.first_slot);
  }
  void put(const ScalarDecl& scalar) {
    put(scalar.name);
    put(scalar.dtype);
    put(scalar.divisor);
    put(scalar.slot);
  }
  void put(const SourceLine& line) {
    put(line.file);
    put(line.line);
  }
  void put(const Node& node) {
    put(node.op);
    put(node.operands);
    put(node.results);
    put(node.ints);
    put(node.regions);
    if (with_lines_) put(node.line);
  }
  void put(const Block& block) {
    put(block.params);
    put(block.nodes);
    put(block.yields);
  }

  void set_with_lines(bool on) { with_lines_ = on; }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
  bool with_lines_ = false;
};

/// Reads until something does not fit; then every further value is zero and ok() is false.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return defect_.empty(); }
  const std::string& defect() const { return defect_; }
  size_t left() const { return bytes_.size(); }
  void set_with_lines(bool on) { with_lines_ = on; }

  void fail(std::string text) {
    if (ok()) defect_ = std::move(text);
    bytes_ = {};
  }

  template <class T>
    requires std::is_arithmetic_v<T>
  void get(T& value) {
    value = {};
    if (bytes_.size() < sizeof(T)) return fail("the bytes end early");
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_ = bytes_.subspan(sizeof(T));
  }
  void get(bool& value) {
    uint8_t byte = 0;
    get(byte);
    if (byte > 1) fail("a flag is neither 0 nor 1");
    value = byte == 1;
  }
  template <class T>
  void get_enum(T& value, int count, const char* what) {
    uint8_t raw = 0;
    get(raw);
    if (raw >= count) return fail(fmt::format("unknown {} {}", what, raw));
    value = static_cast<T>(raw);
  }
  void get(std::string& text) {
    const size_t size = count(1);
    text.assign(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
  }
  template <class T>
  void get(std::vector<T>& values) {
    // Elements take memory only as they are read, so a count costs no more than the bytes behind
    // it.
    const size_t size = count(1);
    for (size_t i = 0; i < size && ok(); ++i) get(values.emplace_back());
  }
  void get(TileType& type) {
    get_enum(type.dtype, kDTypeCount, "dtype");
    uint8_t rank = 0;
    get(rank);
    if (rank > TileShape::kMaxRank) return fail("a tile has too many dimensions");
    for (int i = 0; i < rank; ++i) {
      int64_t extent = 0;
      get(extent);
      type.shape.push_back(extent);
    }
  }
  void get(ViewDecl& view) {
    get(view.name);
    get_enum(view.dtype, kDTypeCount, "dtype");
    get_enum(view.access, 3, "access");
    get(view.extent_divisors);
    get(view.stride_divisors);
    uint8_t flags = 0;
    get(flags);
    if (flags > 3) fail("unknown view flags");
    view.constant = flags & 1;
    view.streamed = flags & 2;
    get(view.first_slot);
  }
  void get(ScalarDecl& scalar) {
    get(scalar.name);
    get_enum(scalar.dtype, kDTypeCount, "dtype");
    get(scalar.divisor);
    get(scalar.slot);
  }
  void get(SourceLine& line) {
    get(line.file);
    get(line.line);
  }
  void get(Node& node) {
    get_enum(node.op, kOpcodeCount, "opcode");
    get(node.operands);
    get(node.results);
    get(node.ints);
    get(node.regions);
    if (with_lines_) get(node.line);
  }
  void get(Block& block) {
    if (++depth_ > kMaxNesting + 1) fail("too deeply nested");
    get(block.params);
    get(block.nodes);
    get(block.yields);
    --depth_;
  }

 private:
  /// A count of elements of at least `bytes` each.
  size_t count(size_t bytes) {
    uint32_t n = 0;
    get(n);
    if (n > bytes_.size() / bytes) {
      fail("the bytes end early");
      return 0;
    }
    return n;
  }

  std::span<const std::byte> bytes_;
  std::string defect_;
  int depth_ = 0;
  bool with_lines_ = false;
};

}  // namespace

std::vector<std::byte> Trace::serialize(Lines keep) const {
  Writer out;
  const bool with_lines = keep == Lines::kKeep && !lines.empty();
  out.set_with_lines(with_lines);
  out.put(kMagic);
  out.put(kVersion);
  out.put(with_lines);
  out.put(name);
  out.put(views);
  out.put(scalars);
  out.put(values);
  if (with_lines) out.put(lines);
  out.put(body);
  out.put(slot_count);
  out.put(warps);
  out.put(stages);
  return out.take();
}

Result<Trace> Trace::parse(std::span<const std::byte> bytes) {
  Reader in(bytes);
  uint32_t magic = 0, version = 0;
  in.get(magic);
  in.get(version);
  if (!in.ok() || magic != kMagic) return corrupt("trace: the bytes are no trace");
  if (version != kVersion)
    return corrupt(
        fmt::format("trace: version {}, this program reads version {}", version, kVersion));
  Trace trace;
  bool with_lines = false;
  in.get(with_lines);
  in.set_with_lines(with_lines);
  in.get(trace.name);
  in.get(trace.views);
  in.get(trace.scalars);
  in.get(trace.values);
  if (with_lines) in.get(trace.lines);
  in.get(trace.body);
  in.get(trace.slot_count);
  in.get(trace.warps);
  in.get(trace.stages);
  if (in.ok() && in.left() != 0) in.fail(fmt::format("{} bytes too many", in.left()));
  if (in.ok() && with_lines && trace.lines.empty()) in.fail("no source lines");
  if (!in.ok()) return corrupt(fmt::format("trace: {}", in.defect()));
  TESSERA_TRY(check_trace(trace));
  return trace;
}

}  // namespace tessera::lang
