// SPDX-License-Identifier: Apache-2.0
// ThreadPool: fork-join loops for kernels. The range is cut into chunks of `grain`; every worker
// owns a contiguous part of the chunks and, when done, takes what late workers have not begun. The
// caller is worker 0. Workers spin for 50 us after a job, so the loops of one step follow each
// other without a system call, then sleep. A job ends without waiting for workers that took no
// chunk.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace tessera {

class ThreadPool {
 public:
  using Body = void (*)(void* context, int worker, int64_t begin, int64_t end);

  /// 0 = one thread for each usable core. Threads count the caller. Workers are pinned when the
  /// machine has more than one NUMA node.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Worker numbers given to a body are below this.
  int size() const;

  /// Calls body(context, worker, b, e) for chunks that cover [begin, end) once, each at most
  /// `grain` long and starting at begin + k * grain; returns when all are done. Two chunks never
  /// run at once with the same worker number. Calls from several threads take turns; a call from
  /// inside a body of the same pool runs on that thread alone, under its worker number. A body must
  /// not throw.
  void run(int64_t begin, int64_t end, int64_t grain, Body body, void* context);

  /// The same with a callable f(worker, begin, end).
  template <class F>
    requires(std::is_invocable_v<F&, int, int64_t, int64_t>)
  void run(int64_t begin, int64_t end, int64_t grain, F&& f) {
    run(
        begin, end, grain,
        [](void* context, int worker, int64_t b, int64_t e) {
          (*static_cast<std::remove_reference_t<F>*>(context))(worker, b, e);
        },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera
