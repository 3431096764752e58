// SPDX-License-Identifier: Apache-2.0
//
// How a job is published and finished. `sequence` is a seqlock: odd while the caller writes the
// job's fields, even when they are valid, a new even value for each job. A worker copies the fields
// and checks that the sequence is still the same. Chunks are taken by compare-exchange on 64-bit
// cursors that carry the sequence in their upper half, so a late worker can never take a chunk of
// another job: a job is not over before each of its chunks was taken and counted down in `pending`,
// and a cursor tagged with an older sequence stands for "nothing taken yet". Hence no worker needs
// to be waited for, and the caller writes no per-worker data.
#include "tessera/base/thread_pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "tessera/base/check.h"
#include "tessera/base/cpu_topology.h"

namespace tessera {
namespace {

constexpr size_t kCacheLine = 64;
constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr int64_t kMaxChunks = int64_t{1} << 31;  // the lower half of a cursor counts chunks

void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  static_assert(sizeof(word) == sizeof(uint32_t));
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futex_wake(std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

struct Job {
  ThreadPool::Body body;
  void* context;
  int64_t begin, end, grain;
  int64_t chunks;
};

/// Which worker of which pool this thread is, while it runs a body.
thread_local const void* current_pool = nullptr;
thread_local int current_worker = 0;

class Inside {
 public:
  Inside(const void* pool, int worker)
      : pool_(std::exchange(current_pool, pool)), worker_(std::exchange(current_worker, worker)) {}
  ~Inside() {
    current_pool = pool_;
    current_worker = worker_;
  }

 private:
  const void* pool_;
  int worker_;
};

}  // namespace

struct ThreadPool::State {
  // Read by spinning workers, written once or twice a job.
  alignas(kCacheLine) std::atomic<uint32_t> sequence{0};
  std::atomic<bool> stop{false};
  std::atomic<Body> body{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<int64_t> begin{0}, end{0}, grain{1}, chunks{0};

  alignas(kCacheLine) std::atomic<int64_t> pending{0};  // chunks not finished
  alignas(kCacheLine) std::atomic<int> sleepers{0};

  struct alignas(kCacheLine) Cursor {
    std::atomic<uint64_t> value{0};  // sequence << 32 | first chunk not taken
  };
  std::vector<Cursor> cursors;
  std::vector<std::thread> threads;
  std::mutex callers;

  int size() const { return static_cast<int>(cursors.size()); }

  void publish(const Job& job) {
    // Release stores: whoever sees a new field also sees the odd sequence before it.
    const uint32_t previous = sequence.load(std::memory_order_relaxed);
    pending.store(job.chunks, std::memory_order_relaxed);
    sequence.store(previous + 1, std::memory_order_relaxed);
    body.store(job.body, std::memory_order_release);
    context.store(job.context, std::memory_order_release);
    begin.store(job.begin, std::memory_order_release);
    end.store(job.end, std::memory_order_release);
    grain.store(job.grain, std::memory_order_release);
    chunks.store(job.chunks, std::memory_order_release);
    // Sequentially consistent, with the load of sleepers: a worker about to sleep is either counted
    // here or sees the new value.
    sequence.store(previous + 2, std::memory_order_seq_cst);
    if (const int asleep = sleepers.load(std::memory_order_seq_cst); asleep > 0)
      futex_wake(sequence, static_cast<int>(std::min<int64_t>(asleep, job.chunks - 1)));
  }

  /// The job of sequence `tag`, or false if it is no longer (or not yet) there.
  bool read(uint32_t tag, Job& job) const {
    job.body = body.load(std::memory_order_acquire);
    job.context = context.load(std::memory_order_acquire);
    job.begin = begin.load(std::memory_order_acquire);
    job.end = end.load(std::memory_order_acquire);
    job.grain = grain.load(std::memory_order_acquire);
    job.chunks = chunks.load(std::memory_order_acquire);
    return sequence.load(std::memory_order_relaxed) == tag;
  }

  /// First chunk of a worker's part.
  int64_t first_chunk(const Job& job, int worker) const { return job.chunks * worker / size(); }

  /// A chunk of `owner`'s part, or -1.
  int64_t take(const Job& job, uint32_t tag, int owner) {
    const int64_t limit = first_chunk(job, owner + 1);
    std::atomic<uint64_t>& cursor = cursors[owner].value;
    uint64_t seen = cursor.load(std::memory_order_relaxed);
    for (;;) {
      const auto age = static_cast<int32_t>(static_cast<uint32_t>(seen >> 32) - tag);
      if (age > 0) return -1;  // a later job
      const int64_t next =
          age == 0 ? static_cast<int64_t>(seen & 0xffffffffu) : first_chunk(job, owner);
      if (next >= limit) return -1;
      if (cursor.compare_exchange_weak(seen, uint64_t{tag} << 32 | static_cast<uint64_t>(next + 1),
                                       std::memory_order_acq_rel, std::memory_order_relaxed))
        return next;
    }
  }

  /// Own part first, then what the others have not begun.
  void work(const Job& job, uint32_t tag, int worker) {
    const Inside inside(this, worker);
    int64_t done = 0;
    for (int offset = 0; offset < size(); ++offset) {
      const int owner = worker + offset < size() ? worker + offset : worker + offset - size();
      for (int64_t chunk; (chunk = take(job, tag, owner)) >= 0; ++done) {
        const int64_t b = job.begin + chunk * job.grain;
        job.body(job.context, worker, b, job.end - b > job.grain ? b + job.grain : job.end);
      }
    }
    if (done > 0) pending.fetch_sub(done, std::memory_order_release);
  }

  void wait_until_done() {
    for (int spins = 0; pending.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < 2000)
        cpu_pause();
      else
        std::this_thread::yield();  // more threads than cores: the one we wait for may need ours
    }
  }

  /// The next valid sequence after `last`.
  uint32_t wait_for_job(uint32_t last) {
    const auto fresh = [&](uint32_t value) { return value != last && value % 2 == 0; };
    const auto start = std::chrono::steady_clock::now();
    for (int spins = 1;; ++spins) {
      const uint32_t value = sequence.load(std::memory_order_acquire);
      if (fresh(value)) return value;
      cpu_pause();
      if (spins % 32 != 0 || std::chrono::steady_clock::now() - start < kSpinTime) continue;
      break;
    }
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    uint32_t value = sequence.load(std::memory_order_seq_cst);
    while (!fresh(value)) {
      if (value == last) futex_wait(sequence, value);  // else odd: valid in a moment
      value = sequence.load(std::memory_order_seq_cst);
    }
    sleepers.fetch_sub(1, std::memory_order_relaxed);
    return value;
  }

  void worker_loop(int worker, int cpu) {
    if (cpu >= 0) pin_this_thread(cpu);
    for (uint32_t last = 0;;) {
      last = wait_for_job(last);
      if (stop.load(std::memory_order_acquire)) return;
      if (Job job; read(last, job)) work(job, last, worker);
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const CpuTopology& topology = CpuTopology::get();
  TESSERA_CHECK(threads >= 0, "{} threads", threads);
  if (threads == 0) threads = topology.usable_cores();
  state_->cursors = std::vector<State::Cursor>(static_cast<size_t>(threads));
  const bool pin = topology.numa_nodes > 1 && threads <= static_cast<int>(topology.cores.size());
  for (int worker = 1; worker < threads; ++worker)
    state_->threads.emplace_back(
        [state = state_.get(), worker, cpu = pin ? topology.cores[worker].cpu : -1] {
          state->worker_loop(worker, cpu);
        });
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_release);
  state_->sequence.fetch_add(2, std::memory_order_seq_cst);
  futex_wake(state_->sequence, INT_MAX);
  for (std::thread& thread : state_->threads) thread.join();
}

int ThreadPool::size() const { return state_->size(); }

void ThreadPool::run(int64_t begin, int64_t end, int64_t grain, Body body, void* context) {
  if (begin >= end) return;
  grain = std::max<int64_t>(grain, 1);
  State& state = *state_;

  const auto run_here = [&](int worker) {
    const Inside inside(&state, worker);
    for (int64_t b = begin; b < end; b += std::min(grain, end - b))
      body(context, worker, b, b + std::min(grain, end - b));
  };
  if (current_pool == &state) return run_here(current_worker);
  const std::lock_guard<std::mutex> turn(state.callers);
  if (state.size() == 1 || end - begin <= grain) return run_here(0);
  while (begin < end) {
    Job job{body, context, begin, end, grain, 0};
    job.chunks = (end - begin - 1) / grain + 1;
    if (job.chunks > kMaxChunks) {
      job.chunks = kMaxChunks;
      job.end = begin + grain * kMaxChunks;
    }
    state.publish(job);
    state.work(job, state.sequence.load(std::memory_order_relaxed), 0);
    state.wait_until_done();
    begin = job.end;
  }
}

}  // namespace tessera
