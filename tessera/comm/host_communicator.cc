// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/host_communicator.h"

#include <cstring>

#include "tessera/comm/reduction.h"

namespace tessera::comm {
namespace {

/// Up to so many bytes an all-reduce is one exchange of everything; above, each rank adds one part.
constexpr size_t kGathered = 2048;

}  // namespace

class HostCommunicator::Staged {
 public:
  /// For reading what the stream has written so far.
  static Result<Staged> read(runtime::Stream& stream, const Region& region) {
    Staged staged(stream, region);
    if (!region.buffer->host_data())
      TESSERA_TRY(stream.copy_to_host(staged.own_, *region.buffer, region.offset));
    TESSERA_TRY(stream.synchronize());
    return staged;
  }
  /// For writing; write_back() ends it.
  static Result<Staged> write(runtime::Stream& stream, const Region& region) {
    Staged staged(stream, region);
    TESSERA_TRY(stream.synchronize());  // earlier work may still read the region
    return staged;
  }
  std::span<std::byte> bytes() {
    std::byte* const host = region_.buffer->host_data();
    return host ? std::span(host + region_.offset, region_.bytes) : std::span(own_);
  }
  Result<> write_back() {
    if (region_.buffer->host_data()) return {};
    return stream_.copy_to_device(*region_.buffer, region_.offset, own_);
  }

 private:
  Staged(runtime::Stream& stream, const Region& region) : stream_(stream), region_(region) {
    if (!region.buffer->host_data()) own_.resize(region.bytes);
  }

  runtime::Stream& stream_;
  const Region region_;
  std::vector<std::byte> own_;
};

Result<> HostCommunicator::reduce_parts(DType dtype, Reduction how,
                                        std::span<const std::byte> parts,
                                        std::span<std::byte> own) {
  received_.resize(parts.size());
  TESSERA_TRY(exchange(parts, received_));
  pointers_.clear();
  for (int r = 0; r < size(); ++r)
    pointers_.push_back(received_.data() + static_cast<size_t>(r) * own.size());
  reduce_in_order(dtype, how, pointers_, own);
  count(static_cast<int64_t>(parts.size() - own.size()));
  return {};
}

Result<> HostCommunicator::do_all_reduce(runtime::Stream& stream, DType dtype, Region data,
                                         Reduction how) {
  TESSERA_ASSIGN(Staged staged, Staged::read(stream, data));
  const std::span<std::byte> all = staged.bytes();
  const auto ranks = static_cast<size_t>(size());
  if (all.size() <= kGathered) {
    received_.resize(all.size() * ranks);
    TESSERA_TRY(host_all_gather(all, received_));
    pointers_.clear();
    for (size_t r = 0; r < ranks; ++r) pointers_.push_back(received_.data() + r * all.size());
    reduce_in_order(dtype, how, pointers_, all);
    count(static_cast<int64_t>((ranks - 1) * all.size()));
    return staged.write_back();
  }
  constexpr size_t kElement = 4;  // parts are whole elements of every type
  const size_t part = (all.size() + kElement * ranks - 1) / (kElement * ranks) * kElement;
  padded_.assign(part * ranks, std::byte{0});
  std::memcpy(padded_.data(), all.data(), all.size());
  std::vector<std::byte> own(part);
  TESSERA_TRY(reduce_parts(dtype, how, padded_, own));
  TESSERA_TRY(host_all_gather(own, padded_));
  count(static_cast<int64_t>((ranks - 1) * part));
  std::memcpy(all.data(), padded_.data(), all.size());
  return staged.write_back();
}

Result<> HostCommunicator::do_reduce_scatter(runtime::Stream& stream, DType dtype, Region parts,
                                             Region own, Reduction how) {
  TESSERA_ASSIGN(Staged from, Staged::read(stream, parts));
  TESSERA_ASSIGN(Staged to, Staged::write(stream, own));
  TESSERA_TRY(reduce_parts(dtype, how, from.bytes(), to.bytes()));
  return to.write_back();
}

Result<> HostCommunicator::do_all_gather(runtime::Stream& stream, Region own, Region parts) {
  TESSERA_ASSIGN(Staged from, Staged::read(stream, own));
  TESSERA_ASSIGN(Staged to, Staged::write(stream, parts));
  TESSERA_TRY(host_all_gather(from.bytes(), to.bytes()));
  count(static_cast<int64_t>(own.bytes) * (size() - 1));
  return to.write_back();
}

Result<> HostCommunicator::do_all_to_all(runtime::Stream& stream, Region from, Region to) {
  TESSERA_ASSIGN(Staged source, Staged::read(stream, from));
  TESSERA_ASSIGN(Staged target, Staged::write(stream, to));
  TESSERA_TRY(exchange(source.bytes(), target.bytes()));
  count(static_cast<int64_t>(from.bytes) / size() * (size() - 1));
  return target.write_back();
}

Result<> HostCommunicator::exchange_rows(std::span<const std::byte> from, const RowLists& outgoing,
                                         std::span<std::byte> to, const RowLists& incoming,
                                         size_t row_bytes) {
  padded_.clear();
  std::vector<size_t> from_bytes, to_bytes;
  size_t coming = 0;
  for (const auto& rows : outgoing) {
    for (const size_t row : rows) {
      const auto bytes = from.subspan(row * row_bytes, row_bytes);
      padded_.insert(padded_.end(), bytes.begin(), bytes.end());
    }
    from_bytes.push_back(rows.size() * row_bytes);
  }
  for (const auto& rows : incoming) coming += to_bytes.emplace_back(rows.size() * row_bytes);
  received_.resize(coming);
  TESSERA_TRY(exchange_uneven(padded_, from_bytes, received_, to_bytes));
  const std::byte* next = received_.data();
  for (const auto& rows : incoming)
    for (const size_t row : rows) {
      std::memcpy(&to[row * row_bytes], next, row_bytes);
      next += row_bytes;
    }
  count(static_cast<int64_t>(padded_.size() - from_bytes[static_cast<size_t>(rank())]));
  return {};
}

namespace {

std::span<const int32_t> as_numbers(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const int32_t*>(bytes.data()), bytes.size() / sizeof(int32_t)};
}

}  // namespace

Result<> HostCommunicator::do_exchange_rows(runtime::Stream& stream, Region from, Region to,
                                            Region wanted, RowWay way) {
  TESSERA_ASSIGN(Staged table, Staged::read(stream, wanted));
  TESSERA_ASSIGN(Staged source, Staged::read(stream, from));
  TESSERA_ASSIGN(Staged target, Staged::write(stream, to));
  const WantedRows lists = wanted_rows(as_numbers(table.bytes()), rank(), size(), way);
  TESSERA_TRY(exchange_rows(source.bytes(), lists.outgoing, target.bytes(), lists.incoming,
                            to.bytes / lists.rows));
  return target.write_back();
}

Result<> HostCommunicator::do_broadcast(runtime::Stream& stream, Region data, int root) {
  TESSERA_ASSIGN(Staged staged, Staged::read(stream, data));
  TESSERA_TRY(host_broadcast(staged.bytes(), root));
  if (rank() == root) {
    count(static_cast<int64_t>(data.bytes) * (size() - 1));
    return {};
  }
  return staged.write_back();
}

Result<> HostCommunicator::do_send(runtime::Stream& stream, Region data, int to) {
  TESSERA_ASSIGN(Staged staged, Staged::read(stream, data));
  count(static_cast<int64_t>(data.bytes));
  return host_send(staged.bytes(), to);
}

Result<> HostCommunicator::do_receive(runtime::Stream& stream, Region data, int from) {
  TESSERA_ASSIGN(Staged staged, Staged::write(stream, data));
  TESSERA_TRY(host_receive(staged.bytes(), from));
  return staged.write_back();
}

}  // namespace tessera::comm
