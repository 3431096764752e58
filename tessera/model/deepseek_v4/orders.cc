// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/orders.h"

#include <algorithm>
#include <cstring>

#include "tessera/model/deepseek_v4/model.h"

namespace tessera::model::deepseek_v4 {
namespace {

/// The first message of an order; what does not fit follows in a second one.
struct Envelope {
  static constexpr size_t kInline = 1000;
  uint64_t bytes = 0;
  std::byte start[kInline] = {};
};

class Writer {
 public:
  template <class T>
  void add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(std::as_bytes(std::span(&value, 1)));
  }
  template <class T>
  void add_all(const std::vector<T>& values) {
    add(static_cast<uint64_t>(values.size()));
    append(std::as_bytes(std::span(values)));
  }
  std::vector<std::byte> bytes;

 private:
  void append(std::span<const std::byte> more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
};

/// Of bytes that rank 0 of the same program wrote.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  void get(T& value) {
    take(&value, sizeof value);
  }
  template <class T>
  void get_all(std::vector<T>& values) {
    uint64_t count = 0;
    get(count);
    values.resize(std::min<uint64_t>(count, bytes_.size() / sizeof(T)));
    take(values.data(), values.size() * sizeof(T));
  }

 private:
  void take(void* to, size_t count) {
    count = std::min(count, bytes_.size());
    if (count > 0) std::memcpy(to, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
  }
  std::span<const std::byte> bytes_;
};

struct SpanHead {
  int32_t sequence, all_logits;
  int64_t position, tokens;
};

std::vector<std::byte> encode(const Order& order) {
  Writer out;
  out.add(order.kind);
  out.add(order.options);
  out.add(order.first);
  out.add(order.last);
  std::vector<SpanHead> heads;
  std::vector<int32_t> tokens;
  for (const Span& span : order.spans) {
    heads.push_back(
        {span.sequence, span.all_logits ? 1 : 0, span.position, std::ssize(span.tokens)});
    tokens.insert(tokens.end(), span.tokens.begin(), span.tokens.end());
  }
  out.add_all(heads);
  out.add_all(tokens);
  out.add_all(order.stream);
  return std::move(out.bytes);
}

Order decode(std::span<const std::byte> bytes) {
  Reader in(bytes);
  Order order;
  std::vector<SpanHead> heads;
  in.get(order.kind);
  in.get(order.options);
  in.get(order.first);
  in.get(order.last);
  in.get_all(heads);
  in.get_all(order.tokens);
  in.get_all(order.stream);
  size_t at = 0;
  for (const SpanHead& head : heads) {
    const auto count = static_cast<size_t>(head.tokens);
    order.spans.push_back({.sequence = head.sequence,
                           .position = head.position,
                           .tokens = std::span(order.tokens).subspan(at, count),
                           .all_logits = head.all_logits != 0});
    at += count;
  }
  return order;
}

Result<Order> receive_order(comm::Communicator& world) {
  // Rank 0 may wait for its user for days.
  const auto usual = world.patience();
  world.set_patience(std::chrono::hours(24 * 365));
  Envelope envelope;
  auto received = world.broadcast(std::as_writable_bytes(std::span(&envelope, 1)), 0);
  world.set_patience(usual);
  TESSERA_TRY(std::move(received));
  std::vector<std::byte> bytes(envelope.bytes);
  const size_t inside = std::min(bytes.size(), Envelope::kInline);
  std::memcpy(bytes.data(), envelope.start, inside);
  TESSERA_TRY(world.broadcast(std::span(bytes).subspan(inside), 0));
  return decode(bytes);
}

Result<> obey(Model& model, const Order& order) {
  switch (order.kind) {
    case OrderKind::step: TESSERA_TRY(model.step(order.spans)); break;
    case OrderKind::draft: TESSERA_TRY(model.draft(order.spans)); break;
    case OrderKind::layers:
      TESSERA_TRY(model.run_layers(static_cast<size_t>(order.first),
                                   static_cast<size_t>(order.last), order.spans, order.stream));
      break;
    case OrderKind::profile:
      TESSERA_TRY(model.profile(order.spans, static_cast<int>(order.first)));
      break;
    case OrderKind::pretend: return model.pretend(order.first);
    case OrderKind::save: return model.save(static_cast<int32_t>(order.first));
    case OrderKind::restore: return model.restore(static_cast<int32_t>(order.first));
    case OrderKind::load:
    case OrderKind::unload:
    case OrderKind::end: break;
  }
  return {};
}

}  // namespace

Result<> send_order(comm::Communicator& world, const Order& order) {
  std::vector<std::byte> bytes = encode(order);
  Envelope envelope;
  envelope.bytes = bytes.size();
  const size_t inside = std::min(bytes.size(), Envelope::kInline);
  std::memcpy(envelope.start, bytes.data(), inside);
  TESSERA_TRY(world.broadcast(std::as_writable_bytes(std::span(&envelope, 1)), 0));
  return world.broadcast(std::span(bytes).subspan(inside), 0);
}

Result<> follow(comm::Communicator& world,
                const std::function<Result<std::unique_ptr<Model>>(const ModelOptions&)>& load) {
  // Several at once where rank 0 has several; it unloads the last one first.
  std::vector<std::unique_ptr<Model>> models;
  for (;;) {
    TESSERA_ASSIGN(const Order order, receive_order(world));
    if (order.kind == OrderKind::end) return {};
    if (order.kind == OrderKind::load) {
      TESSERA_ASSIGN(auto model, load(order.options));
      models.push_back(std::move(model));
    } else if (models.empty()) {
      return internal_error("an order for a model, and none is loaded");
    } else if (order.kind == OrderKind::unload) {
      models.pop_back();
    } else {
      TESSERA_TRY(obey(*models.back(), order));
    }
  }
}

}  // namespace tessera::model::deepseek_v4
