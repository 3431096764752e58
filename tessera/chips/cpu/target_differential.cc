// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/target_differential.h"

#include <bit>

#include "tessera/chips/cpu/device.h"

namespace tessera::chips::cpu {

std::vector<std::unique_ptr<compiler::Target>> targets();

namespace {

int64_t ulpDistance(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b) ? 0 : INT64_MAX;
  const auto ordered = [](float x) {
    const int32_t bits = std::bit_cast<int32_t>(x);
    return bits >= 0 ? int64_t{bits} : -int64_t{bits & 0x7fffffff};
  };
  return std::abs(ordered(a) - ordered(b));
}

}  // namespace

Result<runtime::KernelImage> compileFor(std::string_view arch, const lang::Trace& trace,
                                        const compiler::CompileOptions& options) {
  for (const auto& target : targets())
    if (target->arch() == arch) return target->compile(trace, options);
  return not_found(std::string(arch));
}

std::vector<TestTensor> Differential::execute(const std::string& option, const lang::Trace& trace,
                                              runtime::Grid grid) {
  const bool interpreted = option == "null";
  auto device =
      runtime::open_device(interpreted ? "null" : "cpu:" + option, {.guard_end = true}).value();
  runtime::KernelImage image;
  if (interpreted) {
    image.format = "trace";
    image.entry = trace.name;
    image.code = trace.serialize(lang::Trace::Lines::kKeep);
    image.slot_count = trace.slot_count;
  } else {
    auto compiled = compileFor(device->info().arch, trace, options);
    if (!compiled.ok()) {
      ADD_FAILURE() << option << ": " << compiled.error().to_string();
      return {};
    }
    image = std::move(compiled).value();
  }
  auto stream = device->create_stream().value();
  std::vector<std::unique_ptr<runtime::Buffer>> buffers;
  std::vector<uint64_t> slots;
  for (const TestTensor& t : tensors_) {
    buffers.push_back(device->allocate(t.bytes.size()).value());
    stream->copy_to_device(*buffers.back(), 0, t.bytes).value();
    slots.push_back(buffers.back()->address());
    for (int64_t extent : t.shape) slots.push_back(static_cast<uint64_t>(extent));
    for (size_t d = 0; d + 1 < t.shape.size(); ++d) {
      int64_t stride = 1;
      for (size_t inner = d + 1; inner < t.shape.size(); ++inner) stride *= t.shape[inner];
      slots.push_back(static_cast<uint64_t>(stride));
    }
  }
  slots.insert(slots.end(), scalars.begin(), scalars.end());
  auto kernel = device->load(image);
  if (!kernel.ok()) {
    ADD_FAILURE() << option << ": " << kernel.error().to_string();
    return {};
  }
  if (auto launched = stream->launch(**kernel, grid, slots); !launched.ok())
    ADD_FAILURE() << option << ": " << launched.error().to_string();
  if (auto done = stream->synchronize(); !done.ok())
    ADD_FAILURE() << option << ": " << done.error().to_string();
  std::vector<TestTensor> after = tensors_;
  for (size_t i = 0; i < after.size(); ++i)
    stream->copy_to_host(after[i].bytes, *buffers[i], 0).value();
  stream->synchronize().value();
  return after;
}

void Differential::run(const std::function<void(lang::KernelBuilder&)>& body, runtime::Grid grid) {
  auto trace = lang::trace_kernel("test.kernel", body);
  ASSERT_TRUE(trace.ok()) << trace.error().to_string();
  const std::vector<TestTensor> expected = execute("null", *trace, grid);
  for (const std::string& level : levels) {
    if (!runtime::open_device("cpu:" + level).ok()) continue;  // not on this processor
    results_ = execute(level, *trace, grid);
    if (!results_.empty()) compare(level, expected);
  }
}

void Differential::compare(const std::string& level, const std::vector<TestTensor>& expected) {
  for (size_t t = 0; t < expected.size(); ++t) {
    int reported = 0;
    for (int64_t i = 0; i < expected[t].size() && reported < 5; ++i) {
      bool equal = true;
      if (is_float(expected[t].dtype)) {
        const float want = expected[t].at(i), got = results_[t].at(i);
        equal = ulpDistance(want, got) <= ulps || std::abs(double{want} - double{got}) <= tolerance;
        if (!equal)
          ADD_FAILURE() << level << ", tensor " << t << ", element " << i << ": " << got
                        << " instead of " << want;
      } else {
        const int64_t want = load_as_int(expected[t].dtype, expected[t].bytes.data(), i);
        const int64_t got = load_as_int(results_[t].dtype, results_[t].bytes.data(), i);
        equal = want == got;
        if (!equal)
          ADD_FAILURE() << level << ", tensor " << t << ", element " << i << ": " << got
                        << " instead of " << want;
      }
      reported += equal ? 0 : 1;
    }
  }
}

}  // namespace tessera::chips::cpu
