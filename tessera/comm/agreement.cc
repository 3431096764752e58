// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace tessera::comm {
namespace {

constexpr char kEnd = '\x1f';  // of a field

std::vector<std::string> fields_of(std::string_view text) {
  std::vector<std::string> fields;
  for (size_t end; (end = text.find(kEnd)) != std::string_view::npos; text.remove_prefix(end + 1))
    fields.emplace_back(text.substr(0, end));
  return fields;
}

/// What happened, then why.
std::string words(const Error& error) {
  std::string text;
  for (auto step = error.context.rbegin(); step != error.context.rend(); ++step)
    text += *step + ": ";
  return text + error.message;
}

}  // namespace

Result<std::vector<std::string>> gather_texts(Communicator& comm, std::string_view own) {
  const auto ranks = static_cast<size_t>(comm.size());
  std::vector<uint64_t> lengths(ranks);
  const uint64_t length = own.size();
  TESSERA_TRY(comm.all_gather(std::as_bytes(std::span(&length, 1)),
                              std::as_writable_bytes(std::span(lengths))));
  const size_t most = *std::ranges::max_element(lengths);
  std::vector<std::byte> padded(most), all(most * ranks);
  std::memcpy(padded.data(), own.data(), own.size());
  TESSERA_TRY(comm.all_gather(padded, all));
  std::vector<std::string> texts;
  for (size_t r = 0; r < ranks; ++r)
    texts.emplace_back(reinterpret_cast<const char*>(all.data()) + r * most, lengths[r]);
  return texts;
}

Result<> agree(Communicator& comm, std::span<const Fact> facts, const Error* own) {
  std::string text =
      own ? fmt::format("{}{}{}{}", static_cast<int>(own->code), kEnd, words(*own), kEnd)
          : std::string(1, kEnd);
  if (!own)
    for (const Fact& fact : facts) text += fact.value + kEnd;
  TESSERA_ASSIGN(const std::vector<std::string> texts, gather_texts(comm, text));
  if (own) return Error(*own);
  std::vector<std::vector<std::string>> ranks;
  for (const std::string& one : texts) ranks.push_back(fields_of(one));
  for (size_t r = 0; r < ranks.size(); ++r)
    if (!ranks[r].empty() && !ranks[r][0].empty())
      return make_error(static_cast<ErrorCode>(std::atoi(ranks[r][0].c_str())),
                        fmt::format("rank {}: {}", r, ranks[r].size() > 1 ? ranks[r][1] : ""));
  for (size_t r = 1; r < ranks.size(); ++r)
    for (size_t i = 0; i < facts.size(); ++i) {
      const auto value = [&](size_t rank) {
        return i + 1 < ranks[rank].size() ? ranks[rank][i + 1] : std::string("nothing");
      };
      if (value(r) != value(0))
        return invalid_argument(
            fmt::format("rank {} has {} {}, rank 0 has {}", r, facts[i].name, value(r), value(0)));
    }
  return {};
}

}  // namespace tessera::comm
