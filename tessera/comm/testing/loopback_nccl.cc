// SPDX-License-Identifier: Apache-2.0
// For tests: a library with NCCL's functions for ranks that are threads of one process and memory
// that the host reads. Streams are ignored: an operation is done when its call returns, except
// between group start and end, where messages are queued and receives wait for the end.
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "tessera/base/float_formats.h"

namespace {

struct Id {
  char bytes[128];
};

/// What the ranks of one communicator share.
struct Room {
  std::mutex mutex;
  std::condition_variable changed;
  int arrived = 0, round = 0;
  std::vector<const void*> shown;
  std::map<std::pair<int, int>, std::vector<std::vector<char>>> mail;

  void meet() {
    std::unique_lock lock(mutex);
    const int before = round;
    if (++arrived == static_cast<int>(shown.size())) {
      arrived = 0;
      ++round;
      changed.notify_all();
      return;
    }
    changed.wait(lock, [&] { return round != before; });
  }
};

struct Member {
  std::shared_ptr<Room> room;
  int rank, ranks;
};

struct Receive {
  void* to;
  size_t bytes;
  int from;
  Member* member;
};

std::mutex g_mutex;
std::map<long, std::shared_ptr<Room>> g_rooms;
long g_last_id = 0;
thread_local bool g_in_group = false;
thread_local std::vector<Receive> g_receives;

size_t size_of(int type) { return type == 0 ? 1 : type == 9 ? 2 : 4; }

double value(const void* from, size_t index, int type) {
  const char* at = static_cast<const char*>(from) + index * size_of(type);
  float f;
  int i;
  uint16_t h;
  if (type == 7) return std::memcpy(&f, at, 4), f;
  if (type == 2) return std::memcpy(&i, at, 4), i;
  return std::memcpy(&h, at, 2), tessera::decode_bf16(h);
}

void set(void* to, size_t index, int type, double v) {
  char* at = static_cast<char*>(to) + index * size_of(type);
  const float f = static_cast<float>(v);
  const int i = static_cast<int>(v);
  const uint16_t h = tessera::encode_bf16(v);
  if (type == 7) std::memcpy(at, &f, 4);
  if (type == 2) std::memcpy(at, &i, 4);
  if (type == 9) std::memcpy(at, &h, 2);
}

/// Elements [first, first + count) of all ranks, reduced.
std::vector<double> reduced(const Room& room, size_t first, size_t count, int type, int how) {
  std::vector<double> all(count);
  for (size_t i = 0; i < count; ++i)
    for (size_t r = 0; r < room.shown.size(); ++r) {
      const double one = value(room.shown[r], first + i, type);
      all[i] = r == 0 ? one : how == 0 ? all[i] + one : std::max(all[i], one);
    }
  return all;
}

void receive(const Receive& wanted) {
  Room& room = *wanted.member->room;
  std::unique_lock lock(room.mutex);
  auto& box = room.mail[{wanted.from, wanted.member->rank}];
  room.changed.wait(lock, [&] { return !box.empty(); });
  std::memcpy(wanted.to, box.front().data(), wanted.bytes);
  box.erase(box.begin());
}

}  // namespace

extern "C" {

int ncclGetVersion(int* version) { return *version = 22100, 0; }
const char* ncclGetErrorString(int status) { return status == 4 ? "invalid argument" : "no error"; }

int ncclGetUniqueId(Id* id) {
  const std::lock_guard lock(g_mutex);
  ++g_last_id;
  std::memcpy(id->bytes, &g_last_id, sizeof g_last_id);
  return 0;
}

int ncclCommInitRank(Member** made, int ranks, Id id, int rank) {
  if (rank < 0 || rank >= ranks) return 4;
  long key;
  std::memcpy(&key, id.bytes, sizeof key);
  const std::lock_guard lock(g_mutex);
  std::shared_ptr<Room>& room = g_rooms[key];
  if (!room) {
    room = std::make_shared<Room>();
    room->shown.resize(static_cast<size_t>(ranks));
  }
  *made = new Member{room, rank, ranks};
  return 0;
}

int ncclCommDestroy(Member* member) {
  delete member;
  return 0;
}

int ncclAllReduce(const void* from, void* to, size_t count, int type, int how, Member* m, void*) {
  m->room->shown[static_cast<size_t>(m->rank)] = from;
  m->room->meet();
  const auto all = reduced(*m->room, 0, count, type, how);
  m->room->meet();
  for (size_t i = 0; i < count; ++i) set(to, i, type, all[i]);
  m->room->meet();
  return 0;
}

int ncclReduceScatter(const void* from, void* to, size_t count, int type, int how, Member* m,
                      void*) {
  m->room->shown[static_cast<size_t>(m->rank)] = from;
  m->room->meet();
  const auto all = reduced(*m->room, static_cast<size_t>(m->rank) * count, count, type, how);
  m->room->meet();
  for (size_t i = 0; i < count; ++i) set(to, i, type, all[i]);
  return 0;
}

int ncclAllGather(const void* from, void* to, size_t count, int type, Member* m, void*) {
  m->room->shown[static_cast<size_t>(m->rank)] = from;
  m->room->meet();
  const size_t bytes = count * size_of(type);
  for (size_t r = 0; r < m->room->shown.size(); ++r)
    std::memmove(static_cast<char*>(to) + r * bytes, m->room->shown[r], bytes);
  m->room->meet();
  return 0;
}

int ncclBroadcast(const void* from, void* to, size_t count, int type, int root, Member* m, void*) {
  m->room->shown[static_cast<size_t>(m->rank)] = from;
  m->room->meet();
  if (m->rank != root)
    std::memcpy(to, m->room->shown[static_cast<size_t>(root)], count * size_of(type));
  m->room->meet();
  return 0;
}

int ncclSend(const void* from, size_t count, int type, int to, Member* m, void*) {
  const char* const bytes = static_cast<const char*>(from);
  const std::lock_guard lock(m->room->mutex);
  m->room->mail[{m->rank, to}].emplace_back(bytes, bytes + count * size_of(type));
  m->room->changed.notify_all();
  return 0;
}

int ncclRecv(void* to, size_t count, int type, int from, Member* m, void*) {
  const Receive wanted{to, count * size_of(type), from, m};
  if (g_in_group)
    g_receives.push_back(wanted);
  else
    receive(wanted);
  return 0;
}

int ncclGroupStart() { return g_in_group = true, 0; }

int ncclGroupEnd() {
  g_in_group = false;
  for (const Receive& wanted : g_receives) receive(wanted);
  g_receives.clear();
  return 0;
}
}
