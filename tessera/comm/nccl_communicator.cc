// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/nccl_communicator.h"

#include <vector>

#include "tessera/comm/wanted_rows.h"
#include "tessera/runtime/native_stream.h"

namespace tessera::comm {
namespace {

using runtime::Stream;

int type_of(DType dtype) {
  return dtype == DType::f32    ? NcclLibrary::kFloat32
         : dtype == DType::bf16 ? NcclLibrary::kBfloat16
                                : NcclLibrary::kInt32;
}

int how_of(Reduction how) { return how == Reduction::sum ? NcclLibrary::kSum : NcclLibrary::kMax; }

size_t elements(DType dtype, size_t bytes) { return bytes * 8 / static_cast<size_t>(bits(dtype)); }

void* pointer(const Region& region) { return reinterpret_cast<void*>(region.address()); }

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const NcclLibrary& library, NcclComm handle, Communicator& meeting,
                   std::unique_ptr<Communicator> owned)
      : Communicator(meeting.rank(), meeting.size()),
        nccl_(library),
        handle_(handle),
        owned_(std::move(owned)),
        meeting_(meeting) {}
  ~NcclCommunicator() override { nccl_.release(handle_); }

  std::string_view name() const override { return "nccl"; }
  bool can_capture(const Stream& stream) const override { return handle_of(stream) != nullptr; }
  Result<std::unique_ptr<Communicator>> split(int color, int key) override;

 private:
  Result<> do_all_reduce(Stream& stream, DType dtype, Region data, Reduction how) override {
    count(2 * static_cast<int64_t>(data.bytes) * (size() - 1) / size());
    return nccl_.check("all_reduce",
                       nccl_.all_reduce(pointer(data), pointer(data), elements(dtype, data.bytes),
                                        type_of(dtype), how_of(how), handle_, handle_of(stream)));
  }
  Result<> do_reduce_scatter(Stream& stream, DType dtype, Region parts, Region own,
                             Reduction how) override {
    count(static_cast<int64_t>(parts.bytes - own.bytes));
    return nccl_.check(
        "reduce_scatter",
        nccl_.reduce_scatter(pointer(parts), pointer(own), elements(dtype, own.bytes),
                             type_of(dtype), how_of(how), handle_, handle_of(stream)));
  }
  Result<> do_all_gather(Stream& stream, Region own, Region parts) override {
    count(static_cast<int64_t>(parts.bytes - own.bytes));
    return nccl_.check("all_gather",
                       nccl_.all_gather(pointer(own), pointer(parts), own.bytes, NcclLibrary::kInt8,
                                        handle_, handle_of(stream)));
  }
  Result<> do_all_to_all(Stream& stream, Region from, Region to) override {
    const size_t part = from.bytes / static_cast<size_t>(size());
    count(static_cast<int64_t>(from.bytes - part));
    TESSERA_TRY(nccl_.check("all_to_all", nccl_.group_start()));
    for (int r = 0; r < size(); ++r) {
      const size_t at = static_cast<size_t>(r) * part;
      TESSERA_TRY(do_send_part(stream, {from.buffer, from.offset + at, part}, r));
      TESSERA_TRY(do_receive(stream, {to.buffer, to.offset + at, part}, r));
    }
    return nccl_.check("all_to_all", nccl_.group_end());
  }
  /// Row by row: nothing is packed, and the library makes one launch of all of them.
  Result<> do_exchange_rows(Stream& stream, Region from, Region to, Region wanted,
                            RowWay way) override {
    std::vector<int32_t> numbers(wanted.bytes / sizeof(int32_t));
    TESSERA_TRY(stream.copy_to_host(std::as_writable_bytes(std::span(numbers)), *wanted.buffer,
                                    wanted.offset));
    TESSERA_TRY(stream.synchronize());
    const WantedRows lists = wanted_rows(numbers, rank(), size(), way);
    const size_t row_bytes = to.bytes / lists.rows;
    TESSERA_TRY(nccl_.check("rows", nccl_.group_start()));
    int64_t sent = 0;
    for (int r = 0; r < size(); ++r) {
      const auto peer = static_cast<size_t>(r);
      for (const size_t row : lists.outgoing[peer])
        TESSERA_TRY(
            do_send_part(stream, {from.buffer, from.offset + row * row_bytes, row_bytes}, r));
      for (const size_t row : lists.incoming[peer])
        TESSERA_TRY(do_receive(stream, {to.buffer, to.offset + row * row_bytes, row_bytes}, r));
      if (r != rank()) sent += static_cast<int64_t>(lists.outgoing[peer].size() * row_bytes);
    }
    count(sent);
    return nccl_.check("rows", nccl_.group_end());
  }
  Result<> do_broadcast(Stream& stream, Region data, int root) override {
    if (rank() == root) count(static_cast<int64_t>(data.bytes) * (size() - 1));
    return nccl_.check("broadcast",
                       nccl_.broadcast(pointer(data), pointer(data), data.bytes, NcclLibrary::kInt8,
                                       root, handle_, handle_of(stream)));
  }
  Result<> do_send(Stream& stream, Region data, int to) override {
    count(static_cast<int64_t>(data.bytes));
    return do_send_part(stream, data, to);
  }
  Result<> do_send_part(Stream& stream, Region data, int to) {
    return nccl_.check("send", nccl_.send(pointer(data), data.bytes, NcclLibrary::kInt8, to,
                                          handle_, handle_of(stream)));
  }
  Result<> do_receive(Stream& stream, Region data, int from) override {
    return nccl_.check("receive", nccl_.receive(pointer(data), data.bytes, NcclLibrary::kInt8, from,
                                                handle_, handle_of(stream)));
  }

  Result<> host_broadcast(std::span<std::byte> data, int root) override {
    return meeting_.broadcast(data, root);
  }
  Result<> host_all_gather(std::span<const std::byte> own, std::span<std::byte> parts) override {
    return meeting_.all_gather(own, parts);
  }
  Result<> host_send(std::span<const std::byte> data, int to) override {
    return meeting_.send(data, to);
  }
  Result<> host_receive(std::span<std::byte> data, int from) override {
    return meeting_.receive(data, from);
  }

  static void* handle_of(const Stream& stream) {
    const auto* const native = dynamic_cast<const runtime::NativeStream*>(&stream);
    return native ? native->native_handle() : nullptr;
  }

  const NcclLibrary nccl_;
  const NcclComm handle_;
  const std::unique_ptr<Communicator> owned_;  // the meeting, of a communicator made by split()
  Communicator& meeting_;
};

Result<std::unique_ptr<Communicator>> connect(const NcclLibrary& library, Communicator& meeting,
                                              std::unique_ptr<Communicator> owned) {
  NcclId id{};
  if (meeting.rank() == 0) TESSERA_TRY(library.check("the id of a job", library.unique_id(&id)));
  TESSERA_TRY(meeting.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0));
  NcclComm handle = nullptr;
  TESSERA_TRY(
      library.check("connecting", library.connect(&handle, meeting.size(), id, meeting.rank())));
  return std::unique_ptr<Communicator>(
      std::make_unique<NcclCommunicator>(library, handle, meeting, std::move(owned)));
}

Result<std::unique_ptr<Communicator>> NcclCommunicator::split(int color, int key) {
  TESSERA_ASSIGN(auto part, meeting_.split(color, key));
  Communicator& meeting = *part;
  return connect(nccl_, meeting, std::move(part));
}

}  // namespace

Result<std::unique_ptr<Communicator>> connect_nccl(const NcclLibrary& library,
                                                   Communicator& meeting) {
  return connect(library, meeting, nullptr);
}

}  // namespace tessera::comm
