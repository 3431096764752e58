// SPDX-License-Identifier: Apache-2.0
// What the ranks of a job say to each other. Every rank calls the same collectives in the same
// order; rank r of a communicator of n is 0 <= r < n. Collectives on device memory follow the order
// of a stream; messages between hosts (control, logits) use plain memory.
//
// The public functions check their arguments once for all back ends (same rules, same texts).
// Errors: invalid_argument for ranges that do not fit, deadline when another rank does not come in
// time, unavailable when the job has failed. After an error the communicator is of no more use.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "tessera/base/dtype.h"
#include "tessera/base/result.h"
#include "tessera/comm/wanted_rows.h"
#include "tessera/runtime/buffer.h"
#include "tessera/runtime/stream.h"

namespace tessera::comm {

enum class Reduction : uint8_t { sum, max };

/// Consecutive bytes of a device buffer.
struct Region {
  runtime::Buffer* buffer = nullptr;
  size_t offset = 0, bytes = 0;

  uint64_t address() const { return buffer->address() + offset; }
};

/// What this rank handed to the network, control messages left out.
struct Traffic {
  int64_t operations = 0, bytes = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const Traffic& traffic() const { return traffic_; }
  /// How long this rank waits for another before an operation fails.
  std::chrono::milliseconds patience() const { return patience_; }
  void set_patience(std::chrono::milliseconds patience) { patience_ = patience; }

  // ---- device memory; f32, bf16 and i32 ----

  /// Replaces `data` by the reduction over all ranks: the same bits on every rank. bf16 is summed
  /// in f32 and rounded once. Host back ends sum in the order of the ranks.
  Result<> all_reduce(runtime::Stream& stream, DType dtype, Region data, Reduction how);
  /// Part r of all ranks' `parts` (size() equal parts), reduced, becomes `own` of rank r.
  Result<> reduce_scatter(runtime::Stream& stream, DType dtype, Region parts, Region own,
                          Reduction how);
  /// `own` of rank r becomes part r of every rank's `parts`.
  Result<> all_gather(runtime::Stream& stream, Region own, Region parts);
  /// Part s of rank r's `from` becomes part r of rank s's `to`.
  Result<> all_to_all(runtime::Stream& stream, Region from, Region to);
  Result<> broadcast(runtime::Stream& stream, Region data, int root);

  // Rows of a table whose shares, equal ones, the ranks own. `wanted` i32 [rows, size()], the same
  // on all ranks, is read on the host while the collective is queued: a capture cannot hold it.

  /// Row t of `own`'s rank goes to row t of rank s's `all` where wanted[t, s] >= 0. Rows that are
  /// not wanted are unspecified.
  Result<> dispatch(runtime::Stream& stream, Region own, Region all, Region wanted);
  /// The way back: the rows of `all` that were dispatched to rank s become part s of their owner's
  /// `parts` [size(), a share]. Rows that are not wanted are unspecified.
  Result<> combine(runtime::Stream& stream, Region all, Region parts, Region wanted);

  Result<> send(runtime::Stream& stream, Region data, int to);
  Result<> receive(runtime::Stream& stream, Region data, int from);

  // ---- host memory ----

  Result<> broadcast(std::span<std::byte> data, int root);
  Result<> all_gather(std::span<const std::byte> own, std::span<std::byte> parts);
  Result<> send(std::span<const std::byte> data, int to);
  Result<> receive(std::span<std::byte> data, int from);

  /// Ranks of equal `color` form a communicator, ordered by `key`, then by rank.
  virtual Result<std::unique_ptr<Communicator>> split(int color, int key) = 0;
  /// Collectives on device memory may be queued while `stream` captures: they become part of the
  /// graph. Otherwise a program is captured in parts, and they run between these.
  virtual bool can_capture(const runtime::Stream& stream) const = 0;
  /// "mpi", "nccl", ..
  virtual std::string_view name() const = 0;

 protected:
  Communicator(int rank, int size, std::chrono::milliseconds patience = std::chrono::minutes(5))
      : rank_(rank), size_(size), patience_(patience) {}
  void count(int64_t bytes) {
    ++traffic_.operations;
    traffic_.bytes += bytes;
  }

  // Arguments are checked; sizes are not 0 and size() > 1.
  virtual Result<> do_all_reduce(runtime::Stream& stream, DType dtype, Region data,
                                 Reduction how) = 0;
  virtual Result<> do_reduce_scatter(runtime::Stream& stream, DType dtype, Region parts, Region own,
                                     Reduction how) = 0;
  virtual Result<> do_all_gather(runtime::Stream& stream, Region own, Region parts) = 0;
  virtual Result<> do_all_to_all(runtime::Stream& stream, Region from, Region to) = 0;
  virtual Result<> do_exchange_rows(runtime::Stream& stream, Region from, Region to, Region wanted,
                                    RowWay way) = 0;
  virtual Result<> do_broadcast(runtime::Stream& stream, Region data, int root) = 0;
  virtual Result<> do_send(runtime::Stream& stream, Region data, int to) = 0;
  virtual Result<> do_receive(runtime::Stream& stream, Region data, int from) = 0;

  virtual Result<> host_broadcast(std::span<std::byte> data, int root) = 0;
  virtual Result<> host_all_gather(std::span<const std::byte> own, std::span<std::byte> parts) = 0;
  virtual Result<> host_send(std::span<const std::byte> data, int to) = 0;
  virtual Result<> host_receive(std::span<std::byte> data, int from) = 0;

 private:
  Result<> check_region(const char* what, const runtime::Stream& stream, const Region& region,
                        bool written) const;
  Result<> check_peer(const char* what, int peer) const;
  Result<> check_parts(const char* what, size_t own, size_t parts) const;
  Result<> check_wanted(const char* what, const runtime::Stream& stream, const Region& all,
                        const Region& wanted) const;

  const int rank_, size_;
  std::chrono::milliseconds patience_;
  Traffic traffic_;
};

}  // namespace tessera::comm
