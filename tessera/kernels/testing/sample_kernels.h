// SPDX-License-Identifier: Apache-2.0
// For tests: small traces, and a provider for the null chip, whose machine code is the trace.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "tessera/kernels/provider.h"
#include "tessera/lang/kernel_builder.h"

namespace tessera::kernels::testing {

inline constexpr char kNullArch[] = "null:trace";

/// y = x * factor, a row a program.
inline lang::Trace scale_trace(double factor, std::string name = "test.scale") {
  auto trace = lang::trace_kernel(std::move(name), [&](lang::KernelBuilder& k) {
    const lang::View x = k.view("x", DType::f32, 1, lang::Access::kRead);
    const lang::View y = k.view("y", DType::f32, 1, lang::Access::kWrite);
    const lang::Tile first = k.program_id(0) * 16;
    store(y, {first}, load(x, {first}, {16}) * factor);
  });
  return std::move(trace).value();
}

inline runtime::KernelImage image_of(const lang::Trace& trace) {
  runtime::KernelImage image;
  image.format = "trace";
  image.entry = trace.name;
  image.code = trace.serialize();
  image.slot_count = trace.slot_count;
  return image;
}

class TraceProvider final : public Provider {
 public:
  std::string_view version() const override { return version_; }
  Result<std::string> identity(std::string_view arch) const override {
    return is_identified ? std::string(arch) + " " + version_ : std::string();
  }
  Result<runtime::Capabilities> capabilities(std::string_view) const override {
    return runtime::Capabilities();
  }
  Result<runtime::KernelImage> compile(const lang::Trace& trace, std::string_view) override {
    ++calls;
    std::this_thread::sleep_for(delay);
    if (trace.name == failing) return internal_error("the compiler gave up");
    return image_of(trace);
  }

  std::atomic<int> calls{0};
  std::chrono::milliseconds delay{0};
  std::string failing;  // name of a kernel
  std::string version_ = "test-1";
  bool is_identified = true;
};

}  // namespace tessera::kernels::testing
