// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/thread_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "tessera/comm/host_communicator.h"

namespace tessera::comm {
namespace {

/// Where the ranks of one communicator meet.
class Hall {
 public:
  using Patience = std::chrono::milliseconds;
  explicit Hall(int ranks) : posts(static_cast<size_t>(ranks)) {}

  /// What a rank shows the others between two meetings.
  struct Post {
    const void* data = nullptr;
    size_t bytes = 0;
  };
  std::vector<Post> posts;  // by rank

  /// Returns when all ranks have called it.
  Result<> meet(const char* what, Patience patience) {
    std::unique_lock lock(mutex_);
    if (broken_) return *broken_;
    const int64_t round = round_;
    if (++arrived_ == std::ssize(posts)) {
      arrived_ = 0;
      ++round_;
      changed_.notify_all();
      return {};
    }
    return wait(lock, what, patience, [&] { return round_ != round; });
  }

  /// Of one message from a rank to another.
  Result<> send(std::pair<int, int> way, std::span<const std::byte> data, Patience patience) {
    std::unique_lock lock(mutex_);
    TESSERA_TRY(wait(lock, "send", patience, [&] { return !mail_.contains(way); }));
    mail_[way] = data;
    changed_.notify_all();
    return wait(lock, "send", patience, [&] {
      const auto sent = mail_.find(way);
      return sent == mail_.end() || sent->second.data() != data.data();
    });
  }
  Result<> receive(std::pair<int, int> way, std::span<std::byte> data, Patience patience) {
    std::unique_lock lock(mutex_);
    TESSERA_TRY(wait(lock, "receive", patience, [&] { return mail_.contains(way); }));
    const std::span<const std::byte> sent = mail_[way];
    if (sent.size() != data.size())
      return fail(invalid_argument(fmt::format("receive: rank {} sent {} bytes, rank {} expects {}",
                                               way.first, sent.size(), way.second, data.size())));
    std::memcpy(data.data(), sent.data(), data.size());
    mail_.erase(way);
    changed_.notify_all();
    return {};
  }

  Error fail_all(Error error) {
    std::unique_lock lock(mutex_);
    return fail(std::move(error));
  }

 private:
  template <class Condition>
  Result<> wait(std::unique_lock<std::mutex>& lock, const char* what, Patience patience,
                Condition done) {
    changed_.wait_for(lock, patience, [&] { return broken_.has_value() || done(); });
    if (done()) return {};
    if (broken_) return *broken_;
    return fail(make_error(ErrorCode::deadline,
                           fmt::format("{}: another rank did not come within {:.1f} s", what,
                                       std::chrono::duration<double>(patience).count())));
  }
  Error fail(Error error) {
    broken_ = make_error(ErrorCode::unavailable, "the job has failed: " + error.message);
    changed_.notify_all();
    return error;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t arrived_ = 0, round_ = 0;
  std::map<std::pair<int, int>, std::span<const std::byte>> mail_;
  std::optional<Error> broken_;
};

class ThreadCommunicator final : public HostCommunicator {
 public:
  ThreadCommunicator(int rank, int size, std::shared_ptr<Hall> hall, Hall::Patience patience)
      : HostCommunicator(rank, size, patience), hall_(std::move(hall)) {}

  std::string_view name() const override { return "threads"; }

  Result<std::unique_ptr<Communicator>> split(int color, int key) override {
    struct Wish {
      int color, key;
      std::shared_ptr<Hall> hall;  // of the color, made by its first rank
    };
    Wish mine{color, key, nullptr};
    TESSERA_TRY(show(&mine, sizeof mine, "split"));
    const auto wish = [&](int r) -> const Wish& {
      return *static_cast<const Wish*>(hall_->posts[static_cast<size_t>(r)].data);
    };
    std::vector<std::pair<int, int>> members;  // key, rank
    for (int r = 0; r < size(); ++r)
      if (wish(r).color == color) members.emplace_back(wish(r).key, r);
    std::ranges::sort(members);
    const int first = members.front().second;
    const int ranks = static_cast<int>(members.size());
    if (first == rank()) mine.hall = std::make_shared<Hall>(ranks);
    TESSERA_TRY(hall_->meet("split", patience()));
    std::shared_ptr<Hall> hall = wish(first).hall;
    TESSERA_TRY(hall_->meet("split", patience()));
    const auto me = std::ranges::find(members, rank(), &std::pair<int, int>::second);
    return std::unique_ptr<Communicator>(std::make_unique<ThreadCommunicator>(
        static_cast<int>(me - members.begin()), ranks, std::move(hall), patience()));
  }

 private:
  std::span<const std::byte> post(int r) const {
    const Hall::Post& post = hall_->posts[static_cast<size_t>(r)];
    return {static_cast<const std::byte*>(post.data), post.bytes};
  }
  Result<> show(const void* data, size_t bytes, const char* what) {
    hall_->posts[static_cast<size_t>(rank())] = {data, bytes};
    TESSERA_TRY(hall_->meet(what, patience()));
    for (int r = 0; r < size(); ++r)
      if (post(r).size() != bytes)
        return hall_->fail_all(invalid_argument(fmt::format(
            "{}: rank {} has {} bytes, rank {} has {}", what, r, post(r).size(), rank(), bytes)));
    return {};
  }

  Result<> exchange(std::span<const std::byte> from, std::span<std::byte> to) override {
    TESSERA_TRY(show(from.data(), from.size(), "all_to_all"));
    const size_t part = from.size() / static_cast<size_t>(size());
    for (int r = 0; r < size(); ++r)
      std::memcpy(to.data() + static_cast<size_t>(r) * part,
                  post(r).data() + static_cast<size_t>(rank()) * part, part);
    return hall_->meet("all_to_all", patience());
  }
  Result<> exchange_uneven(std::span<const std::byte> from, std::span<const size_t> from_bytes,
                           std::span<std::byte> to, std::span<const size_t> to_bytes) override {
    struct Parts {
      std::vector<std::span<const std::byte>> of;  // rank
    } mine;
    for (const size_t bytes : from_bytes) {
      mine.of.push_back(from.first(bytes));
      from = from.subspan(bytes);
    }
    TESSERA_TRY(show(&mine, sizeof mine, "all_to_all"));
    for (int r = 0; r < size(); ++r) {
      const auto part = static_cast<const Parts*>(hall_->posts[static_cast<size_t>(r)].data)
                            ->of[static_cast<size_t>(rank())];
      const size_t expected = to_bytes[static_cast<size_t>(r)];
      if (part.size() != expected)
        return hall_->fail_all(
            invalid_argument(fmt::format("all_to_all: rank {} sent {} bytes, rank {} expects {}", r,
                                         part.size(), rank(), expected)));
      if (expected > 0) std::memcpy(to.data(), part.data(), expected);
      to = to.subspan(expected);
    }
    return hall_->meet("all_to_all", patience());
  }
  Result<> host_all_gather(std::span<const std::byte> own, std::span<std::byte> parts) override {
    TESSERA_TRY(show(own.data(), own.size(), "all_gather"));
    for (int r = 0; r < size(); ++r)
      std::memmove(parts.data() + static_cast<size_t>(r) * own.size(), post(r).data(), own.size());
    return hall_->meet("all_gather", patience());
  }
  Result<> host_broadcast(std::span<std::byte> data, int root) override {
    TESSERA_TRY(show(data.data(), data.size(), "broadcast"));
    if (rank() != root) std::memcpy(data.data(), post(root).data(), data.size());
    return hall_->meet("broadcast", patience());
  }
  Result<> host_send(std::span<const std::byte> data, int to) override {
    return hall_->send({rank(), to}, data, patience());
  }
  Result<> host_receive(std::span<std::byte> data, int from) override {
    return hall_->receive({from, rank()}, data, patience());
  }

  std::shared_ptr<Hall> hall_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_threads(int ranks,
                                                        std::chrono::milliseconds patience) {
  const auto hall = std::make_shared<Hall>(ranks);
  std::vector<std::unique_ptr<Communicator>> all;
  for (int r = 0; r < ranks; ++r)
    all.push_back(std::make_unique<ThreadCommunicator>(r, ranks, hall, patience));
  return all;
}

}  // namespace tessera::comm
