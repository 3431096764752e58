// SPDX-License-Identifier: Apache-2.0
// What the compiler needs to know of a chip: how to turn a trace into an image for one
// architecture.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/compiler/code_memo.h"
#include "tessera/compiler/stage_timer.h"
#include "tessera/lang/trace.h"
#include "tessera/runtime/capabilities.h"
#include "tessera/runtime/kernel_image.h"

namespace tessera::compiler {

struct CompileOptions {
  bool print_ir = false;         // the module after each pass, to stderr
  bool print_timing = false;     // per-pass milliseconds, to stderr
  std::string dump_assembly;     // file that receives the target's assembly; empty: none
  StageTimer* stages = nullptr;  // receives the milliseconds of each stage
  CodeMemo* memo = nullptr;      // code of equal kernels is found and kept there
};

/// One architecture of one chip. Stateless and thread-safe: kernels compile in parallel.
class Target {
 public:
  virtual ~Target() = default;
  /// The DeviceInfo::arch this target serves, e.g. "cpu:x86-64-v4".
  virtual std::string_view arch() const = 0;
  /// The machine code is made for, features included: "x86_64-unknown-linux-gnu x86-64-v4
  /// +avx512bf16". With the trace and the compiler's version it decides the image, so it is part of
  /// every cache key. Empty: images hold more than that, and are not kept.
  virtual std::string machine() const = 0;
  /// What plans may know of the architecture; equal to the device's own.
  virtual const runtime::Capabilities& capabilities() const = 0;
  virtual Result<runtime::KernelImage> compile(const lang::Trace& trace,
                                               const CompileOptions& options) const = 0;
  /// The same for machines that have exactly these optional features, whatever this machine has;
  /// an error names those there are.
  virtual Result<std::unique_ptr<Target>> with_features(const std::vector<std::string>&) const {
    return invalid_argument(std::string(arch()) + " has no optional features");
  }
};

/// The features in "<arch>+avx512bf16+avx512vnni"; none for `arch` itself, null for another one.
std::optional<std::vector<std::string>> features_of(std::string_view text, std::string_view arch);

/// All targets of all chips in this build; generated from tessera/chips/*.
std::vector<std::unique_ptr<Target>> all_targets();
/// `arch` may name features (features_of()). `not_found` lists the architectures there are.
Result<std::unique_ptr<Target>> find_target(std::string_view arch);

}  // namespace tessera::compiler
