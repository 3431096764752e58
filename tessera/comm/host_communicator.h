// SPDX-License-Identifier: Apache-2.0
// Base of the back ends that move host memory. Device memory is used in place where the host sees
// it and staged where not; reductions add in the order of the ranks, so that the bits depend
// neither on timing nor on the back end.
#pragma once

#include <vector>

#include "tessera/comm/communicator.h"
#include "tessera/comm/wanted_rows.h"

namespace tessera::comm {

class HostCommunicator : public Communicator {
 public:
  bool can_capture(const runtime::Stream&) const override { return false; }

 protected:
  using Communicator::Communicator;

  /// Parts of equal size for and from every rank.
  virtual Result<> exchange(std::span<const std::byte> from, std::span<std::byte> to) = 0;
  /// Parts one after the other, of `from_bytes[s]` for rank s and `to_bytes[s]` of it.
  virtual Result<> exchange_uneven(std::span<const std::byte> from,
                                   std::span<const size_t> from_bytes, std::span<std::byte> to,
                                   std::span<const size_t> to_bytes) = 0;

 private:
  /// Bytes of a region as the host sees them while a collective runs.
  class Staged;

  Result<> do_all_reduce(runtime::Stream& stream, DType dtype, Region data, Reduction how) override;
  Result<> do_reduce_scatter(runtime::Stream& stream, DType dtype, Region parts, Region own,
                             Reduction how) override;
  Result<> do_all_gather(runtime::Stream& stream, Region own, Region parts) override;
  Result<> do_all_to_all(runtime::Stream& stream, Region from, Region to) override;
  Result<> do_exchange_rows(runtime::Stream& stream, Region from, Region to, Region wanted,
                            RowWay way) override;
  Result<> do_broadcast(runtime::Stream& stream, Region data, int root) override;
  Result<> do_send(runtime::Stream& stream, Region data, int to) override;
  Result<> do_receive(runtime::Stream& stream, Region data, int from) override;

  Result<> reduce_parts(DType dtype, Reduction how, std::span<const std::byte> parts,
                        std::span<std::byte> own);

  /// Sends `from` at the rows of `outgoing`, a list for each rank, and takes what comes to the rows
  /// of `incoming` of `to`.
  Result<> exchange_rows(std::span<const std::byte> from, const RowLists& outgoing,
                         std::span<std::byte> to, const RowLists& incoming, size_t row_bytes);

  std::vector<std::byte> received_, padded_;
  std::vector<const std::byte*> pointers_;
};

}  // namespace tessera::comm
