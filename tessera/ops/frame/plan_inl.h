// SPDX-License-Identifier: Apache-2.0
// Calling a kernel body with as many views and scalars as it takes.
#pragma once

namespace tessera::ops {
namespace internal {

template <class Body, size_t... V, size_t... S>
void call_body(const Body& body, KernelBuilder& k, std::span<const View> v, std::span<const Tile> s,
               std::index_sequence<V...>, std::index_sequence<S...>) {
  body(k, v[V]..., s[S]...);
}

template <size_t>
using ViewAt = View;
template <size_t>
using TileAt = Tile;

template <class Body, class V, class S>
struct Takes;
template <class Body, size_t... V, size_t... S>
struct Takes<Body, std::index_sequence<V...>, std::index_sequence<S...>>
    : std::bool_constant<
          std::is_invocable_v<const Body&, KernelBuilder&, ViewAt<V>..., TileAt<S>...>> {};

}  // namespace internal

template <class Body, size_t... N>
void PlanBuilder::dispatch(const Body& body, KernelBuilder& k, std::span<const View> v,
                           std::span<const Tile> s, std::index_sequence<N...>) {
  bool called = false;
  auto try_views = [&]<size_t Views>(std::integral_constant<size_t, Views>) {
    auto try_scalars = [&]<size_t Scalars>(std::integral_constant<size_t, Scalars>) {
      if constexpr (Scalars <= 4) {
        using ViewSequence = std::make_index_sequence<Views>;
        using ScalarSequence = std::make_index_sequence<Scalars>;
        if constexpr (internal::Takes<Body, ViewSequence, ScalarSequence>::value) {
          if (Views == v.size() && Scalars == s.size()) {
            internal::call_body(body, k, v, s, ViewSequence{}, ScalarSequence{});
            called = true;
          }
        }
      }
    };
    (try_scalars(std::integral_constant<size_t, N>{}), ...);
  };
  (try_views(std::integral_constant<size_t, N>{}), ...);
  TESSERA_CHECK(called, "kernel body does not take {} views and {} scalars", v.size(), s.size());
}

}  // namespace tessera::ops
