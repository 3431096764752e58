// SPDX-License-Identifier: Apache-2.0
// A model ready to run: weights in place, caches for some sequences, and programs for the shapes of
// steps seen so far. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tessera/checkpoint/checkpoint.h"
#include "tessera/kernels/kernel_library.h"
#include "tessera/model/deepseek_v4/orders.h"
#include "tessera/model/deepseek_v4/ranks.h"
#include "tessera/model/deepseek_v4/step_writer.h"

namespace tessera::model::deepseek_v4 {

/// Anonymous memory of a model besides its weights, in bytes.
struct WorkingMemory {
  int64_t caches = 0, activations = 0, logits = 0, tables = 0;
  int64_t total() const { return caches + activations + logits + tables; }
};

/// Time and least work of the parts of a step, by name.
struct SectionTime {
  std::string name;
  double milliseconds = 0;
  ops::Cost cost;
};

/// What the collectives of a part of a step sent from this rank.
struct SectionTraffic {
  std::string name;
  comm::Traffic traffic;
};

/// The job a model is a part of; by default there is none.
struct Job {
  comm::Communicator* world = nullptr;  // outlives the model
  bool ranks_differ = false;            // see Ranks
};

/// With several ranks every rank has a Model. Rank 0's are used as if they were alone; the others
/// follow() it.
class Model {
 public:
  /// The device of `library` must outlive the model. Errors, of any rank: a checkpoint that lacks
  /// what the configuration asks for or contradicts it, memory, a kernel that cannot be had.
  static Result<std::unique_ptr<Model>> load(
      std::shared_ptr<const checkpoint::Checkpoint> checkpoint, const Config& config,
      kernels::KernelLibrary& library, const ModelOptions& options, const Job& job = {});
  /// The same from any source of weights; `source` makes it for a rank.
  using SourceOf = std::function<std::shared_ptr<WeightSource>(Rank rank)>;
  static Result<std::unique_ptr<Model>> create(const SourceOf& source, const Config& config,
                                               kernels::KernelLibrary& library,
                                               const ModelOptions& options, const Job& job = {});
  /// What create() takes for itself at these options; loads and compiles nothing.
  static Result<WorkingMemory> plan(const Config& config, const runtime::Capabilities& capabilities,
                                    const ModelOptions& options);
  ~Model();

  const Config& config() const { return writer_.config(); }
  const ModelOptions& options() const { return writer_.options(); }
  int64_t context() const { return options().context; }
  /// Positions a sequence holds: a step may begin there, or before.
  int64_t length(int32_t sequence) const { return lengths_[static_cast<size_t>(sequence)].held; }

  /// Runs the tokens of all spans, each sequence at most once, and keeps their keys. A span may
  /// begin at position 0 (the sequence starts anew), where its sequence ends, or up to
  /// CacheLayout::kRollback positions before. Logits f32 [rows asked for, vocabulary] in the order
  /// of the spans; valid until the next call. Ranks other than 0 get none.
  Result<std::span<const float>> step(std::span<const Span> spans);

  /// Keeps what the sequence needs to go on from where it stands now, so that restore() brings it
  /// back there however far it went meanwhile. Ends with the next save() of the sequence and with a
  /// step that begins before that position. Needs ModelOptions::snapshots.
  Result<void> save(int32_t sequence);
  Result<void> restore(int32_t sequence);
  /// Where restore() leads.
  std::optional<int64_t> saved(int32_t sequence) const;

  /// Runs the draft block over rows of the last step: a span names positions of that step, its
  /// tokens are those that follow them. Logits as step(): of the token after.
  Result<std::span<const float>> draft(std::span<const Span> spans);

  /// Layers [first, last) alone, over a residual stream given in the activation type
  /// [rows, hc_mult, D]; the stream after them. Keys are kept as step() does; lengths are not
  /// counted. `first` = `last` - 1 is how a layer is compared with another implementation's.
  Result<std::vector<std::byte>> run_layers(size_t first, size_t last, std::span<const Span> spans,
                                            std::span<const std::byte> stream);
  /// The residual stream after the last step or run_layers().
  Result<std::vector<std::byte>> stream(int64_t rows) const;
  DType activation() const { return writer_.numerics().activation; }
  const runtime::Capabilities& capabilities() const {
    return library_.device().info().capabilities;
  }

  /// Bytes that an operator of a step has just written; what `watch` changes takes their place.
  using OutputWatch = std::function<Result<void>(const WrittenTensor&, std::span<std::byte>)>;
  /// As step(), without logits and operator by operator. What nobody writes is the same on every
  /// chip: a step that begins at position 0 finds its caches zero, an operator finds its outputs
  /// zero. One rank only.
  Result<void> watched_step(const Span& span, const OutputWatch& watch);

  /// As step(), without logits: the time of each part, in the order of first use, summed over
  /// layers and averaged over `repeats` runs of the same step.
  Result<std::vector<SectionTime>> profile(std::span<const Span> spans, int repeats);
  /// For measurements at positions nobody computed: every sequence holds `positions`, caches are
  /// filled with small numbers.
  Result<void> pretend(int64_t positions);

  /// Launches of the program that served the last call.
  size_t last_kernel_count() const;
  /// Of all steps so far, by section, those that sent anything.
  std::vector<SectionTraffic> traffic() const;
  /// Bytes of the weights of this rank.
  WeightSource::Held weights_held() const { return source_->held(); }

 private:
  struct Entry {
    Program program;
    StepTables tables;
    std::optional<CapturedProgram> graph;
    int64_t last_use = 0;
  };
  struct Length {
    int64_t held = 0;     // positions before this are computed
    int64_t highest = 0;  // one past the last position written since the sequence began
  };

  Model(const Config& config, kernels::KernelLibrary& library, const ModelOptions& options);
  static void add_traffic(std::vector<SectionTraffic>& all, const Program& program);
  Result<void> assemble(const SourceOf& source, const Job& job);
  Result<void> take_memory();
  /// By a rank that leads_: what it is about to do.
  Result<void> tell(const Order& order) const;
  Result<void> check(std::span<const Span> spans, bool continues) const;
  /// Counts the positions of a step that has run.
  void count(std::span<const Span> spans);
  /// The buffer of this model that holds an address, and the offset in it.
  std::pair<runtime::Buffer*, size_t> buffer_of(uint64_t address) const;
  Result<Entry*> entry(const StepKey& key);
  Result<void> run(Entry& entry);
  Result<void> send_tables(const Entry& entry, std::span<const Span> spans,
                           std::span<const int32_t> source_rows = {});
  Result<std::span<const float>> read_logits(int64_t rows);
  /// On rank 0: the parts of all ranks side by side, in host_logits_.
  Result<void> gather_logits(int64_t rows);
  Result<std::vector<int32_t>> source_rows(std::span<const Span> spans) const;
  Result<void> grow_arena(int64_t bytes);
  Result<void> grow_logits(int64_t rows);
  StepMemory memory() const;
  Ranks ranks() const;

  const StepWriter writer_;
  kernels::KernelLibrary& library_;
  OperatorStore operators_;
  Share vocabulary_;  // of this rank
  std::optional<RankGroups> groups_;
  bool leads_ = false;  // other ranks do what this one tells them
  std::shared_ptr<WeightSource> source_;
  Weights weights_;

  std::unique_ptr<runtime::Stream> stream_;
  std::unique_ptr<runtime::Buffer> cache_memory_, tables_, hidden_, drafted_, logits_, arena_,
      snapshots_;
  std::vector<int32_t> words_;                    // of the tables
  std::vector<float> host_logits_, part_logits_;  // of the vocabulary, of a rank's share
  std::vector<SectionTraffic> gone_traffic_;      // of programs that are not kept any more
  comm::Traffic logits_traffic_;
  std::vector<Length> lengths_;               // by sequence
  std::vector<std::optional<Length>> saved_;  // in snapshots_
  struct StepRow {
    int32_t sequence;
    int64_t first, last, row;  // positions [first, last) lie in rows from `row` on
  };
  std::vector<StepRow> last_rows_;  // of the last step

  std::map<StepKey, Entry> programs_;
  const Entry* last_entry_ = nullptr;
  int64_t clock_ = 0;
};

}  // namespace tessera::model::deepseek_v4
