// SPDX-License-Identifier: Apache-2.0
// Result<T>: the value or the Error of an operation that a user, a file or a device can make fail.
// Our own bugs do not travel this way: they abort through TESSERA_CHECK (check.h).
#pragma once

#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tessera {

enum class ErrorCode {
  invalid_argument,
  not_found,
  unsupported,
  out_of_memory,
  corrupt,
  io,
  device_lost,
  unavailable,
  deadline,
  internal,
};

/// "invalid_argument", "not_found", ...
std::string_view name(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::source_location where;
  std::vector<std::string> context;  // innermost first

  /// "loading layer 3: reading header: corrupt: bad magic 0x1234 (tessera/x/y.cc:12)"
  std::string to_string() const;
};

[[nodiscard]] Error make_error(ErrorCode code, std::string message,
                               std::source_location where = std::source_location::current());

[[nodiscard]] Error invalid_argument(std::string message,
                                     std::source_location where = std::source_location::current());
[[nodiscard]] Error not_found(std::string message,
                              std::source_location where = std::source_location::current());
[[nodiscard]] Error unsupported(std::string message,
                                std::source_location where = std::source_location::current());
[[nodiscard]] Error out_of_memory(std::string message,
                                  std::source_location where = std::source_location::current());
[[nodiscard]] Error corrupt(std::string message,
                            std::source_location where = std::source_location::current());
[[nodiscard]] Error io_error(std::string message,
                             std::source_location where = std::source_location::current());
[[nodiscard]] Error internal_error(std::string message,
                                   std::source_location where = std::source_location::current());

namespace detail {
/// Aborts: value() was called on an error, or error() on a value.
[[noreturn]] void bad_result_access(const Error* error);
}  // namespace detail

/// Converts implicitly from T and from Error; T may be move-only. A failed Result is movable, not
/// copyable (copy its error() instead).
template <class T = void>
class [[nodiscard]] Result {
  static_assert(!std::is_reference_v<T> && !std::is_same_v<std::remove_cv_t<T>, Error>);

 public:
  using value_type = T;

  template <class U = T>
    requires(std::is_constructible_v<T, U &&> && std::is_convertible_v<U &&, T> &&
             !std::is_same_v<std::remove_cvref_t<U>, Result> &&
             !std::is_same_v<std::remove_cvref_t<U>, Error>)
  Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::make_unique<Error>(std::move(error))) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return checked(), *std::get_if<0>(&state_); }
  const T& value() const& { return checked(), *std::get_if<0>(&state_); }
  T&& value() && { return checked(), std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  template <class U>
  T value_or(U&& fallback) && {
    return ok() ? std::move(*this).value() : static_cast<T>(std::forward<U>(fallback));
  }

  Error& error() & { return failed(), **std::get_if<1>(&state_); }
  const Error& error() const& { return failed(), **std::get_if<1>(&state_); }
  Error&& error() && { return failed(), std::move(**std::get_if<1>(&state_)); }

  /// Says what was being done: `return open(path).context("loading layer 3");`
  Result context(std::string what) && {
    if (!ok()) error().context.push_back(std::move(what));
    return std::move(*this);
  }

 private:
  void checked() const {
    if (!ok()) [[unlikely]]
      detail::bad_result_access(std::get_if<1>(&state_)->get());
  }
  void failed() const {
    if (ok()) [[unlikely]]
      detail::bad_result_access(nullptr);
  }
  std::variant<T, std::unique_ptr<Error>> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;  // success
  Result(Error error) : error_(std::make_unique<Error>(std::move(error))) {}

  bool ok() const { return error_ == nullptr; }
  explicit operator bool() const { return ok(); }
  void value() const {
    if (!ok()) [[unlikely]]
      detail::bad_result_access(error_.get());
  }

  Error& error() & { return failed(), *error_; }
  const Error& error() const& { return failed(), *error_; }
  Error&& error() && { return failed(), std::move(*error_); }

  Result context(std::string what) && {
    if (!ok()) error_->context.push_back(std::move(what));
    return std::move(*this);
  }

 private:
  void failed() const {
    if (ok()) [[unlikely]]
      detail::bad_result_access(nullptr);
  }
  std::unique_ptr<Error> error_;
};

}  // namespace tessera

#define TESSERA_CONCAT_INNER_(a, b) a##b
#define TESSERA_CONCAT_(a, b) TESSERA_CONCAT_INNER_(a, b)

/// Evaluates a Result and returns its error from the enclosing function, which returns a Result.
#define TESSERA_TRY(...)                             \
  do {                                               \
    auto&& tessera_try_result_ = (__VA_ARGS__);      \
    if (!tessera_try_result_.ok()) [[unlikely]]      \
      return std::move(tessera_try_result_).error(); \
  } while (false)

/// TESSERA_ASSIGN(auto file, MappedFile::open(path)); declares or assigns, or returns the error.
#define TESSERA_ASSIGN(lhs, ...) \
  TESSERA_ASSIGN_INNER_(TESSERA_CONCAT_(tessera_assign_result_, __COUNTER__), lhs, __VA_ARGS__)
#define TESSERA_ASSIGN_INNER_(result, lhs, ...) \
  auto result = (__VA_ARGS__);                  \
  if (!result.ok()) [[unlikely]]                \
    return std::move(result).error();           \
  lhs = std::move(result).value()
