// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "tessera/comm/agreement.h"
#include "tessera/model/deepseek_v4/checkpoint_weights.h"
#include "tessera/model/deepseek_v4/made_weights.h"
#include "tessera/model/deepseek_v4/rescaled_experts.h"
#include "tessera/model/deepseek_v4/weight_match.h"

namespace tessera::model::deepseek_v4 {
namespace {

constexpr size_t kPatternBytes = size_t{1} << 20;  // of made-up cache contents
constexpr size_t kPrograms = 48;                   // kept; the one not used for longest goes first

int64_t rows_of(std::span<const Span> spans) {
  int64_t rows = 0;
  for (const Span& span : spans) rows += std::ssize(span.tokens);
  return rows;
}

}  // namespace

Model::Model(const Config& config, kernels::KernelLibrary& library, const ModelOptions& options)
    : writer_(config, options),
      library_(library),
      operators_(library, {.deterministic = options.deterministic}),
      vocabulary_(vocabulary_share(config, options.rank)),
      lengths_(static_cast<size_t>(options.sequences)),
      saved_(lengths_.size()) {}

Model::~Model() {
  // A rank that cannot be told has gone, and so will this one.
  if (leads_) static_cast<void>(send_order(*groups_->ranks().world, {.kind = OrderKind::unload}));
}

Result<std::unique_ptr<Model>> Model::load(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                           const Config& config, kernels::KernelLibrary& library,
                                           const ModelOptions& options, const Job& job) {
  TESSERA_TRY(check_options(config, options));
  using Part = WeightMatch::Part;
  const Rank own = job.world ? Rank{job.world->rank(), job.world->size()} : Rank{};
  TESSERA_TRY(check_ranks(config, own.count));
  TESSERA_TRY(match_weights(*checkpoint, config, Shards(config, own))
                  .check(options.mtp ? Part::trunk_and_draft : Part::trunk)
                  .context("the checkpoint is not what its config.json asks for"));
  const auto source = [&](Rank rank) -> std::shared_ptr<WeightSource> {
    const Shards shards(config, rank);
    auto stored = std::make_shared<CheckpointWeights>(checkpoint, library.device(), shards,
                                                      config.expert_dtype);
    if (options.precision != Precision::fp8 || config.expert_dtype != DType::f4e2m1) return stored;
    return std::make_shared<RescaledExperts>(checkpoint, std::move(stored), library.device(),
                                             shards);
  };
  return create(source, config, library, options, job);
}

Result<std::unique_ptr<Model>> Model::create(const SourceOf& source, const Config& config,
                                             kernels::KernelLibrary& library,
                                             const ModelOptions& options, const Job& job) {
  TESSERA_TRY(check_options(config, options));
  if (!job.world || job.world->size() == 1) {
    std::unique_ptr<Model> model(new Model(config, library, options));
    TESSERA_TRY(model->assemble(source, job));
    return model;
  }
  ModelOptions own = options;
  own.rank.number = job.world->rank();
  own.rank.count = job.world->size();
  TESSERA_TRY(check_ranks(config, own.rank.count));
  if (own.rank.number == 0)
    TESSERA_TRY(send_order(*job.world, {.kind = OrderKind::load, .options = options}));
  std::unique_ptr<Model> model(new Model(config, library, own));
  const auto assembled = model->assemble(source, job);
  TESSERA_TRY(comm::agree(*job.world, {}, assembled.ok() ? nullptr : &assembled.error()));
  model->leads_ = own.rank.number == 0;
  return model;
}

Result<void> Model::assemble(const SourceOf& source, const Job& job) {
  if (options().rank.count > 1) {
    TESSERA_ASSIGN(
        groups_, RankGroups::make(config(), *job.world, options().rank.experts, job.ranks_differ));
  }
  source_ = source(options().rank);
  TESSERA_ASSIGN(weights_, assemble_weights(config(), *source_, options().mtp, options().rank));
  return take_memory().context("memory of the model");
}

Result<void> Model::tell(const Order& order) const {
  return send_order(*groups_->ranks().world, order);
}

Result<WorkingMemory> Model::plan(const Config& config, const runtime::Capabilities& capabilities,
                                  const ModelOptions& options) {
  TESSERA_TRY(check_options(config, options));
  const StepWriter writer(config, options);
  WeightShapes source(config, options.precision, options.rank);
  TESSERA_ASSIGN(const Weights weights,
                 assemble_weights(config, source, options.mtp, options.rank));
  const StepKey largest = writer.largest();
  WorkingMemory memory;
  memory.caches = writer.caches().bytes;
  if (options.snapshots) memory.caches += options.sequences * writer.caches().volatile_bytes();
  memory.tables = writer.table_words() * 4;
  // On the device and, of rank 0 all, on the host.
  const int64_t part = vocabulary_share(config, options.rank).count();
  const bool has_all = options.rank.count == 1, gathers = !has_all && options.rank.number == 0;
  memory.logits = largest.shape.logits * 4 * (2 * part + (gathers ? config.vocab_size : 0));
  TESSERA_ASSIGN(const int64_t arena,
                 writer.arena_bytes(weights, StepMemory{}, Ranks{.rank = options.rank},
                                    {capabilities, {.deterministic = options.deterministic}}));
  memory.activations = arena + writer.stream_bytes(largest.shape.rows) * (options.mtp ? 2 : 1);
  return memory;
}

Result<void> Model::take_memory() {
  runtime::Device& device = library_.device();
  const StepKey largest = writer_.largest();
  TESSERA_ASSIGN(stream_, device.create_stream());
  const auto allocate = [&](std::unique_ptr<runtime::Buffer>& buffer,
                            int64_t bytes) -> Result<void> {
    TESSERA_ASSIGN(buffer, device.allocate(static_cast<size_t>(bytes)));
    return {};
  };
  words_.resize(static_cast<size_t>(writer_.table_words()));
  TESSERA_TRY(allocate(cache_memory_, writer_.caches().bytes).context("caches"));
  if (options().snapshots)
    TESSERA_TRY(allocate(snapshots_, options().sequences * writer_.caches().volatile_bytes()));
  TESSERA_TRY(allocate(tables_, std::ssize(words_) * 4));
  const int64_t stream = writer_.stream_bytes(largest.shape.rows);
  TESSERA_TRY(allocate(hidden_, stream));
  TESSERA_TRY(allocate(drafted_, options().mtp ? stream : 0));
  TESSERA_TRY(grow_logits(largest.shape.logits));
  TESSERA_ASSIGN(const int64_t arena,
                 writer_.arena_bytes(weights_, memory(), ranks(), operators_.planning()));
  return grow_arena(arena);
}

Ranks Model::ranks() const { return groups_ ? groups_->ranks() : Ranks{.rank = options().rank}; }

StepMemory Model::memory() const {
  return {.tables = tables_->address(),
          .caches = cache_memory_->address(),
          .hidden = hidden_->address(),
          .drafted = drafted_->address(),
          .logits = logits_->address()};
}

Result<void> Model::grow_arena(int64_t bytes) {
  if (arena_ && static_cast<int64_t>(arena_->size()) >= bytes) return {};
  arena_.reset();
  for (auto& [key, entry] : programs_) entry.graph.reset();
  TESSERA_ASSIGN(arena_, library_.device().allocate(static_cast<size_t>(bytes)));
  for (auto& [key, entry] : programs_) TESSERA_TRY(entry.program.bind(*arena_));
  return {};
}

Result<void> Model::grow_logits(int64_t rows) {
  const auto bytes = static_cast<size_t>(rows * vocabulary_.count() * 4);
  if (logits_ && logits_->size() >= bytes) return {};
  last_entry_ = nullptr;
  for (const auto& [key, entry] : programs_) add_traffic(gone_traffic_, entry.program);
  programs_.clear();  // they hold the address
  TESSERA_ASSIGN(logits_, library_.device().allocate(bytes));
  const auto all = static_cast<size_t>(rows * config().vocab_size);
  if (options().rank.count > 1) part_logits_.resize(bytes / 4);
  if (options().rank.number == 0) host_logits_.resize(all);
  return {};
}

// ---- programs ----

Result<Model::Entry*> Model::entry(const StepKey& key) {
  TESSERA_TRY(grow_logits(key.kind == StepKey::Kind::kLayers ? 0 : key.shape.logits));
  auto found = programs_.find(key);
  if (found == programs_.end()) {
    ProgramBuilder builder;
    writer_.write(builder, weights_, key, memory(), ranks());
    TESSERA_ASSIGN(Program program, std::move(builder).build(operators_));
    TESSERA_TRY(grow_arena(program.arena_bytes()));
    TESSERA_TRY(program.bind(*arena_));
    if (programs_.size() >= kPrograms) {
      const auto oldest = std::ranges::min_element(
          programs_, {}, [](const auto& entry) { return entry.second.last_use; });
      add_traffic(gone_traffic_, oldest->second.program);
      programs_.erase(oldest);
    }
    found = programs_.emplace(key, Entry{std::move(program), writer_.tables(key), {}, 0}).first;
  }
  Entry& entry = found->second;
  entry.last_use = ++clock_;
  last_entry_ = &entry;
  if (!entry.graph && StepWriter::is_captured(key)) {
    TESSERA_ASSIGN(entry.graph, entry.program.capture(*stream_));
  }
  return &entry;
}

size_t Model::last_kernel_count() const {
  return last_entry_ ? last_entry_->program.kernel_count() : 0;
}

void Model::add_traffic(std::vector<SectionTraffic>& all, const Program& program) {
  for (const ProgramSection& section : program.sections()) {
    if (section.traffic.operations == 0) continue;
    auto found = std::ranges::find(all, section.name, &SectionTraffic::name);
    if (found == all.end()) {
      all.push_back({section.name, {}});
      found = all.end() - 1;
    }
    found->traffic.operations += section.traffic.operations;
    found->traffic.bytes += section.traffic.bytes;
  }
}

std::vector<SectionTraffic> Model::traffic() const {
  std::vector<SectionTraffic> all = gone_traffic_;
  for (const auto& [key, entry] : programs_) add_traffic(all, entry.program);
  if (logits_traffic_.operations > 0) all.push_back({"logits", logits_traffic_});
  return all;
}

// ---- running ----

Result<void> Model::check(std::span<const Span> spans, bool continues) const {
  if (spans.empty()) return invalid_argument("a step without spans");
  const int64_t rows = rows_of(spans);
  if (rows > options().largest_step)
    return invalid_argument(fmt::format("a step of {} tokens: the model was loaded for {} a step",
                                        rows, options().largest_step));
  std::vector<bool> seen(lengths_.size());
  for (const Span& span : spans) {
    if (span.sequence < 0 || span.sequence >= options().sequences)
      return invalid_argument(fmt::format("sequence {}: the model was loaded for {}", span.sequence,
                                          options().sequences));
    if (seen[static_cast<size_t>(span.sequence)])
      return invalid_argument(fmt::format("sequence {} twice in a step", span.sequence));
    seen[static_cast<size_t>(span.sequence)] = true;
    if (span.tokens.empty())
      return invalid_argument(fmt::format("no token for sequence {}", span.sequence));
    for (const int32_t token : span.tokens)
      if (token < 0 || token >= config().vocab_size)
        return invalid_argument(
            fmt::format("token {} of a vocabulary of {}", token, config().vocab_size));
    if (!continues) continue;
    const int64_t end = span.position + std::ssize(span.tokens);
    if (end > options().context)
      return invalid_argument(fmt::format("positions {} to {} in a context of {}", span.position,
                                          end - 1, options().context));
    const Length& length = lengths_[static_cast<size_t>(span.sequence)];
    if (span.position < 0 || span.position > length.held)
      return invalid_argument(fmt::format("sequence {} holds {} positions: it cannot go on at {}",
                                          span.sequence, length.held, span.position));
    const int64_t earliest = length.highest - CacheLayout::kRollback;
    if (span.position != 0 && span.position < earliest)
      return invalid_argument(
          fmt::format("sequence {} was written up to position {}: it can go back to {} or to 0, "
                      "not to {}",
                      span.sequence, length.highest - 1, earliest, span.position));
  }
  return {};
}

Result<void> Model::send_tables(const Entry& entry, std::span<const Span> spans,
                                std::span<const int32_t> source_rows) {
  const auto words = static_cast<size_t>(entry.tables.words);
  if (words > words_.size())
    return internal_error(fmt::format("step tables of {} words, {} planned", words, words_.size()));
  const std::span<int32_t> all = std::span(words_).first(words);
  fill_step_tables(entry.tables, writer_.caches(), spans, all);
  const auto sources = all.subspan(static_cast<size_t>(entry.tables.source_rows.offset),
                                   static_cast<size_t>(entry.tables.source_rows.length));
  std::ranges::fill(sources, -1);
  std::ranges::copy(source_rows, sources.begin());
  return stream_->copy_to_device(*tables_, 0, std::as_bytes(all));
}

Result<void> Model::run(Entry& entry) {
  return entry.graph ? entry.graph->replay(*stream_) : entry.program.run(*stream_);
}

Result<std::span<const float>> Model::read_logits(int64_t rows) {
  const bool several = options().rank.count > 1;
  const std::span<float> part = std::span(several ? part_logits_ : host_logits_)
                                    .first(static_cast<size_t>(rows * vocabulary_.count()));
  TESSERA_TRY(stream_->copy_to_host(std::as_writable_bytes(part), *logits_, 0));
  TESSERA_TRY(stream_->synchronize());
  if (!several) return std::span<const float>(part);
  comm::Communicator& world = *groups_->ranks().world;
  if (options().rank.number == 0) {
    TESSERA_TRY(gather_logits(rows));
    return std::span<const float>(host_logits_)
        .first(static_cast<size_t>(rows * config().vocab_size));
  }
  ++logits_traffic_.operations;
  logits_traffic_.bytes += std::ssize(part) * 4;
  TESSERA_TRY(world.send(std::as_bytes(part), 0));
  return std::span<const float>();
}

Result<void> Model::gather_logits(int64_t rows) {
  for (int64_t r = 0; r < options().rank.count; ++r) {
    const Share share = vocabulary_share(config(), {r, options().rank.count});
    // The largest share is one row of the table more than the least.
    part_logits_.resize(std::max(part_logits_.size(), static_cast<size_t>(rows * share.count())));
    const std::span<float> part =
        std::span(part_logits_).first(static_cast<size_t>(rows * share.count()));
    if (r > 0)
      TESSERA_TRY(
          groups_->ranks().world->receive(std::as_writable_bytes(part), static_cast<int>(r)));
    for (int64_t row = 0; row < rows; ++row)
      std::copy_n(&part[static_cast<size_t>(row * share.count())], share.count(),
                  &host_logits_[static_cast<size_t>(row * config().vocab_size + share.begin)]);
  }
  return {};
}

Result<std::span<const float>> Model::step(std::span<const Span> spans) {
  TESSERA_TRY(check(spans, true));
  if (leads_) TESSERA_TRY(tell({.kind = OrderKind::step, .spans = {spans.begin(), spans.end()}}));
  const StepKey key = writer_.key(StepKey::Kind::kStep, spans);
  TESSERA_ASSIGN(Entry* const program, entry(key));
  TESSERA_TRY(send_tables(*program, spans));
  TESSERA_TRY(run(*program));
  TESSERA_ASSIGN(const std::span<const float> logits, read_logits(key.shape.logits));
  count(spans);
  return logits;
}

void Model::count(std::span<const Span> spans) {
  last_rows_.clear();
  int64_t row = 0;
  for (const Span& span : spans) {
    Length& length = lengths_[static_cast<size_t>(span.sequence)];
    const int64_t end = span.position + std::ssize(span.tokens);
    length.highest = span.position == 0 ? end : std::max(length.highest, end);
    length.held = end;
    auto& saved = saved_[static_cast<size_t>(span.sequence)];
    if (saved && span.position < saved->held) saved.reset();  // its entries are overwritten
    last_rows_.push_back({span.sequence, span.position, end, row});
    row += std::ssize(span.tokens);
  }
}

Result<void> Model::save(int32_t sequence) {
  if (!snapshots_) return invalid_argument("the model was loaded without room for snapshots");
  const auto index = static_cast<size_t>(sequence);
  TESSERA_CHECK(index < lengths_.size(), "sequence {} of {}", sequence, lengths_.size());
  if (leads_) TESSERA_TRY(tell({.kind = OrderKind::save, .first = sequence}));
  auto at = static_cast<size_t>(sequence * writer_.caches().volatile_bytes());
  for (const CacheRegion& region : writer_.caches().volatile_regions(sequence)) {
    const auto bytes = static_cast<size_t>(region.bytes);
    TESSERA_TRY(
        stream_->copy(*snapshots_, at, *cache_memory_, static_cast<size_t>(region.offset), bytes));
    at += bytes;
  }
  saved_[index] = lengths_[index];
  return {};
}

Result<void> Model::restore(int32_t sequence) {
  const auto index = static_cast<size_t>(sequence);
  TESSERA_CHECK(index < lengths_.size(), "sequence {} of {}", sequence, lengths_.size());
  if (!saved_[index])
    return invalid_argument(fmt::format("nothing of sequence {} is saved", sequence));
  if (leads_) TESSERA_TRY(tell({.kind = OrderKind::restore, .first = sequence}));
  auto at = static_cast<size_t>(sequence * writer_.caches().volatile_bytes());
  for (const CacheRegion& region : writer_.caches().volatile_regions(sequence)) {
    const auto bytes = static_cast<size_t>(region.bytes);
    TESSERA_TRY(
        stream_->copy(*cache_memory_, static_cast<size_t>(region.offset), *snapshots_, at, bytes));
    at += bytes;
  }
  lengths_[index] = *saved_[index];
  return {};
}

std::optional<int64_t> Model::saved(int32_t sequence) const {
  const auto& saved = saved_[static_cast<size_t>(sequence)];
  return saved ? std::optional(saved->held) : std::nullopt;
}

Result<std::vector<int32_t>> Model::source_rows(std::span<const Span> spans) const {
  std::vector<int32_t> rows;
  for (const Span& span : spans) {
    const auto found = std::ranges::find_if(
        last_rows_, [&](const StepRow& row) { return row.sequence == span.sequence; });
    const int64_t end = span.position + std::ssize(span.tokens);
    if (found == last_rows_.end() || span.position < found->first || end > found->last)
      return invalid_argument(
          fmt::format("a draft for positions {} to {} of sequence {}, which the last step did not "
                      "compute",
                      span.position, end - 1, span.sequence));
    for (int64_t p = span.position; p < end; ++p)
      rows.push_back(static_cast<int32_t>(found->row + p - found->first));
  }
  return rows;
}

Result<std::span<const float>> Model::draft(std::span<const Span> spans) {
  if (!weights_.draft) return invalid_argument("the model was loaded without its draft block");
  TESSERA_TRY(check(spans, false));
  TESSERA_ASSIGN(const std::vector<int32_t> sources, source_rows(spans));
  if (leads_) TESSERA_TRY(tell({.kind = OrderKind::draft, .spans = {spans.begin(), spans.end()}}));
  const StepKey key = writer_.key(StepKey::Kind::kDraft, spans);
  TESSERA_ASSIGN(Entry* const program, entry(key));
  TESSERA_TRY(send_tables(*program, spans, sources));
  TESSERA_TRY(run(*program));
  return read_logits(key.shape.logits);
}

Result<std::vector<std::byte>> Model::stream(int64_t rows) const {
  const int64_t row = writer_.stream_bytes(1);
  std::vector<std::byte> bytes(static_cast<size_t>(rows * row));
  TESSERA_TRY(stream_->copy_to_host(bytes, *hidden_, 0));
  TESSERA_TRY(stream_->synchronize());
  return bytes;
}

Result<std::vector<std::byte>> Model::run_layers(size_t first, size_t last,
                                                 std::span<const Span> spans,
                                                 std::span<const std::byte> stream) {
  if (first >= last || last > weights_.layers.size())
    return invalid_argument(
        fmt::format("layers {} to {} of {}", first, last, weights_.layers.size()));
  TESSERA_TRY(check(spans, false));
  const int64_t rows = rows_of(spans);
  const int64_t row = writer_.stream_bytes(1);
  if (std::ssize(stream) != rows * row)
    return invalid_argument(
        fmt::format("a residual stream of {} bytes for {} rows of {}", stream.size(), rows, row));
  if (leads_)
    TESSERA_TRY(tell({.kind = OrderKind::layers,
                      .first = static_cast<int64_t>(first),
                      .last = static_cast<int64_t>(last),
                      .spans = {spans.begin(), spans.end()},
                      .stream = {stream.begin(), stream.end()}}));
  StepKey key = writer_.key(StepKey::Kind::kLayers, spans);
  key.first = first;
  key.last = last;
  TESSERA_ASSIGN(Entry* const program, entry(key));
  TESSERA_TRY(send_tables(*program, spans));
  TESSERA_TRY(stream_->copy_to_device(*hidden_, 0, stream));
  TESSERA_TRY(run(*program));
  return this->stream(rows);
}

std::pair<runtime::Buffer*, size_t> Model::buffer_of(uint64_t address) const {
  for (const auto* buffer : {&arena_, &cache_memory_, &hidden_, &drafted_, &logits_})
    if (*buffer && address >= (*buffer)->address() &&
        address < (*buffer)->address() + (*buffer)->size())
      return {buffer->get(), address - (*buffer)->address()};
  TESSERA_UNREACHABLE("address {:#x} lies outside the model's memory", address);
}

Result<void> Model::watched_step(const Span& span, const OutputWatch& watch) {
  if (options().rank.count > 1)
    return invalid_argument("operators are watched on one rank, without --tp");
  const std::span<const Span> spans(&span, 1);
  TESSERA_TRY(check(spans, true));
  TESSERA_ASSIGN(Entry* const program, entry(writer_.key(StepKey::Kind::kStep, spans)));
  if (span.position == 0) TESSERA_TRY(stream_->fill(*cache_memory_, 0, cache_memory_->size(), 0));
  TESSERA_TRY(send_tables(*program, spans));
  std::vector<std::byte> bytes, before;
  const auto clear = [&](const WrittenTensor& tensor) -> Result<void> {
    const auto [buffer, offset] = buffer_of(tensor.address);
    return stream_->fill(*buffer, offset, tensor.desc.bytes(), 0);
  };
  const auto watch_one = [&](const WrittenTensor& tensor) -> Result<void> {
    const auto [buffer, offset] = buffer_of(tensor.address);
    bytes.resize(tensor.desc.bytes());
    TESSERA_TRY(stream_->copy_to_host(bytes, *buffer, offset));
    TESSERA_TRY(stream_->synchronize());
    before = bytes;
    TESSERA_TRY(watch(tensor, bytes));
    return bytes == before ? Result<void>() : stream_->copy_to_device(*buffer, offset, bytes);
  };
  TESSERA_TRY(program->program.run_watched(*stream_, {clear, watch_one}));
  TESSERA_TRY(stream_->synchronize());
  count(spans);
  return {};
}

// ---- measuring ----

Result<std::vector<SectionTime>> Model::profile(std::span<const Span> spans, int repeats) {
  TESSERA_TRY(check(spans, true));
  if (leads_)
    TESSERA_TRY(tell(
        {.kind = OrderKind::profile, .first = repeats, .spans = {spans.begin(), spans.end()}}));
  TESSERA_ASSIGN(Entry* const program, entry(writer_.key(StepKey::Kind::kStep, spans)));
  TESSERA_TRY(send_tables(*program, spans));
  const auto sections = program->program.sections();
  std::vector<std::unique_ptr<runtime::Event>> marks(sections.size() + 1);
  for (auto& mark : marks) {
    TESSERA_ASSIGN(mark, library_.device().create_event());
  }
  std::vector<SectionTime> times;
  const auto named = [&](const std::string& name) -> SectionTime& {
    const auto found =
        std::ranges::find_if(times, [&](const SectionTime& time) { return time.name == name; });
    return found != times.end() ? *found : times.emplace_back(SectionTime{name, 0, {}});
  };
  for (int repeat = 0; repeat < repeats; ++repeat) {
    TESSERA_TRY(stream_->record(*marks[0]));
    for (size_t i = 0; i < sections.size(); ++i) {
      TESSERA_TRY(program->program.run(*stream_, sections[i].first, sections[i].last));
      TESSERA_TRY(stream_->record(*marks[i + 1]));
    }
    TESSERA_TRY(stream_->synchronize());
    for (size_t i = 0; i < sections.size(); ++i) {
      SectionTime& time = named(sections[i].name);
      TESSERA_ASSIGN(const double milliseconds, marks[i + 1]->elapsed_ms_since(*marks[i]));
      time.milliseconds += milliseconds / repeats;
      if (repeat > 0) continue;
      time.cost.bytes_read += sections[i].cost.bytes_read;
      time.cost.bytes_written += sections[i].cost.bytes_written;
      time.cost.flops += sections[i].cost.flops;
    }
  }
  return times;
}

Result<void> Model::pretend(int64_t positions) {
  if (positions < 0 || positions > options().context)
    return invalid_argument(
        fmt::format("{} positions held in a context of {}", positions, options().context));
  if (leads_) TESSERA_TRY(tell({.kind = OrderKind::pretend, .first = positions}));
  // 0x3c.. and 0xbc.. begin small numbers in f32 and in bf16 alike. They differ: keys that an
  // indexer can tell apart.
  std::mt19937 random(1);
  std::vector<uint16_t> pattern(kPatternBytes / 2);
  for (uint16_t& value : pattern) value = static_cast<uint16_t>(0x3c00 | (random() & 0x80ff));
  for (size_t at = 0; at < cache_memory_->size(); at += kPatternBytes)
    TESSERA_TRY(
        stream_->copy_to_device(*cache_memory_, at,
                                std::as_bytes(std::span(pattern))
                                    .first(std::min(kPatternBytes, cache_memory_->size() - at))));
  TESSERA_TRY(stream_->synchronize());
  std::ranges::fill(lengths_, Length{positions, positions});
  return {};
}

}  // namespace tessera::model::deepseek_v4
