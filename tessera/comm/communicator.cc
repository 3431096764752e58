// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/communicator.h"

#include <fmt/format.h>

#include <cstring>

#include "tessera/runtime/device.h"

namespace tessera::comm {
namespace {

Result<> check_elements(const char* what, DType dtype, size_t bytes) {
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::i32)
    return unsupported(
        fmt::format("{} of {}: f32, bf16 and i32 can be reduced", what, tessera::name(dtype)));
  const auto element = static_cast<size_t>(bits(dtype)) / 8;
  if (bytes % element != 0)
    return invalid_argument(
        fmt::format("{}: {} bytes are not whole {}", what, bytes, tessera::name(dtype)));
  return {};
}

}  // namespace

Result<> Communicator::check_region(const char* what, const runtime::Stream& stream,
                                    const Region& region, bool written) const {
  if (&region.buffer->device() != &stream.device())
    return invalid_argument(fmt::format("{}: the buffer belongs to {}, the stream to {}", what,
                                        region.buffer->device().info().arch,
                                        stream.device().info().arch));
  if (region.offset > region.buffer->size() || region.bytes > region.buffer->size() - region.offset)
    return invalid_argument(fmt::format("{}: {} bytes at offset {} exceed a buffer of {} bytes",
                                        what, region.bytes, region.offset, region.buffer->size()));
  if (written && !region.buffer->writable())
    return invalid_argument(fmt::format("{}: the target wraps read-only host memory", what));
  if (stream.capturing() && !can_capture(stream))
    return invalid_argument(
        fmt::format("{} inside a capture: {} cannot be captured", what, name()));
  return {};
}

Result<> Communicator::check_peer(const char* what, int peer) const {
  if (peer >= 0 && peer < size_) return {};
  return invalid_argument(fmt::format("{}: no rank {} among {}", what, peer, size_));
}

Result<> Communicator::check_parts(const char* what, size_t own, size_t parts) const {
  if (own * static_cast<size_t>(size_) == parts) return {};
  return invalid_argument(
      fmt::format("{}: {} parts of {} bytes are not {} bytes", what, size_, own, parts));
}

Result<> Communicator::all_reduce(runtime::Stream& stream, DType dtype, Region data,
                                  Reduction how) {
  TESSERA_TRY(check_elements("all_reduce", dtype, data.bytes));
  TESSERA_TRY(check_region("all_reduce", stream, data, true));
  if (data.bytes == 0 || size_ == 1) return {};
  return do_all_reduce(stream, dtype, data, how);
}

Result<> Communicator::reduce_scatter(runtime::Stream& stream, DType dtype, Region parts,
                                      Region own, Reduction how) {
  TESSERA_TRY(check_elements("reduce_scatter", dtype, own.bytes));
  TESSERA_TRY(check_parts("reduce_scatter", own.bytes, parts.bytes));
  TESSERA_TRY(check_region("reduce_scatter", stream, parts, false));
  TESSERA_TRY(check_region("reduce_scatter", stream, own, true));
  if (own.bytes == 0) return {};
  if (size_ == 1)
    return stream.copy(*own.buffer, own.offset, *parts.buffer, parts.offset, own.bytes);
  return do_reduce_scatter(stream, dtype, parts, own, how);
}

Result<> Communicator::all_gather(runtime::Stream& stream, Region own, Region parts) {
  TESSERA_TRY(check_parts("all_gather", own.bytes, parts.bytes));
  TESSERA_TRY(check_region("all_gather", stream, own, false));
  TESSERA_TRY(check_region("all_gather", stream, parts, true));
  if (own.bytes == 0) return {};
  if (size_ == 1)
    return stream.copy(*parts.buffer, parts.offset, *own.buffer, own.offset, own.bytes);
  return do_all_gather(stream, own, parts);
}

Result<> Communicator::all_to_all(runtime::Stream& stream, Region from, Region to) {
  if (from.bytes != to.bytes || from.bytes % static_cast<size_t>(size_) != 0)
    return invalid_argument(
        fmt::format("all_to_all: {} bytes to {} bytes in {} parts", from.bytes, to.bytes, size_));
  TESSERA_TRY(check_region("all_to_all", stream, from, false));
  TESSERA_TRY(check_region("all_to_all", stream, to, true));
  if (from.bytes == 0) return {};
  if (size_ == 1) return stream.copy(*to.buffer, to.offset, *from.buffer, from.offset, to.bytes);
  return do_all_to_all(stream, from, to);
}

Result<> Communicator::check_wanted(const char* what, const runtime::Stream& stream,
                                    const Region& all, const Region& wanted) const {
  TESSERA_TRY(check_region(what, stream, wanted, false));
  if (stream.capturing())
    return invalid_argument(
        fmt::format("{} inside a capture: the host reads which rows are wanted", what));
  const auto ranks = static_cast<size_t>(size_);
  const size_t rows = wanted.bytes / (sizeof(int32_t) * ranks);
  if (wanted.bytes % (sizeof(int32_t) * ranks) == 0 && rows % ranks == 0 &&
      (rows == 0 ? all.bytes == 0 : all.bytes % rows == 0))
    return {};
  return invalid_argument(
      fmt::format("{}: {} bytes of rows and {} bytes of what {} ranks want of them do not fit",
                  what, all.bytes, wanted.bytes, size_));
}

Result<> Communicator::dispatch(runtime::Stream& stream, Region own, Region all, Region wanted) {
  TESSERA_TRY(check_parts("dispatch", own.bytes, all.bytes));
  TESSERA_TRY(check_region("dispatch", stream, own, false));
  TESSERA_TRY(check_region("dispatch", stream, all, true));
  TESSERA_TRY(check_wanted("dispatch", stream, all, wanted));
  if (own.bytes == 0) return {};
  if (size_ == 1) return stream.copy(*all.buffer, all.offset, *own.buffer, own.offset, own.bytes);
  return do_exchange_rows(stream, own, all, wanted, RowWay::dispatch);
}

Result<> Communicator::combine(runtime::Stream& stream, Region all, Region parts, Region wanted) {
  TESSERA_TRY(check_region("combine", stream, all, false));
  TESSERA_TRY(check_region("combine", stream, parts, true));
  TESSERA_TRY(check_wanted("combine", stream, all, wanted));
  if (all.bytes != parts.bytes)
    return invalid_argument(fmt::format("combine: {} bytes to {} bytes", all.bytes, parts.bytes));
  if (all.bytes == 0) return {};
  if (size_ == 1)
    return stream.copy(*parts.buffer, parts.offset, *all.buffer, all.offset, all.bytes);
  return do_exchange_rows(stream, all, parts, wanted, RowWay::combine);
}

Result<> Communicator::broadcast(runtime::Stream& stream, Region data, int root) {
  TESSERA_TRY(check_peer("broadcast", root));
  TESSERA_TRY(check_region("broadcast", stream, data, rank_ != root));
  if (data.bytes == 0 || size_ == 1) return {};
  return do_broadcast(stream, data, root);
}

Result<> Communicator::send(runtime::Stream& stream, Region data, int to) {
  TESSERA_TRY(check_peer("send", to));
  if (to == rank_) return invalid_argument(fmt::format("send: rank {} to itself", rank_));
  TESSERA_TRY(check_region("send", stream, data, false));
  return data.bytes == 0 ? Result<>() : do_send(stream, data, to);
}

Result<> Communicator::receive(runtime::Stream& stream, Region data, int from) {
  TESSERA_TRY(check_peer("receive", from));
  if (from == rank_) return invalid_argument(fmt::format("receive: rank {} from itself", rank_));
  TESSERA_TRY(check_region("receive", stream, data, true));
  return data.bytes == 0 ? Result<>() : do_receive(stream, data, from);
}

Result<> Communicator::broadcast(std::span<std::byte> data, int root) {
  TESSERA_TRY(check_peer("broadcast", root));
  return data.empty() || size_ == 1 ? Result<>() : host_broadcast(data, root);
}

Result<> Communicator::all_gather(std::span<const std::byte> own, std::span<std::byte> parts) {
  TESSERA_TRY(check_parts("all_gather", own.size(), parts.size()));
  if (own.empty()) return {};
  if (size_ == 1) {
    std::memcpy(parts.data(), own.data(), own.size());
    return {};
  }
  return host_all_gather(own, parts);
}

Result<> Communicator::send(std::span<const std::byte> data, int to) {
  TESSERA_TRY(check_peer("send", to));
  if (to == rank_) return invalid_argument(fmt::format("send: rank {} to itself", rank_));
  return data.empty() ? Result<>() : host_send(data, to);
}

Result<> Communicator::receive(std::span<std::byte> data, int from) {
  TESSERA_TRY(check_peer("receive", from));
  if (from == rank_) return invalid_argument(fmt::format("receive: rank {} from itself", rank_));
  return data.empty() ? Result<>() : host_receive(data, from);
}

}  // namespace tessera::comm
