// SPDX-License-Identifier: Apache-2.0
// Beside a pack, its kernels as the machine code of one GPU and driver: with it nothing is compiled
// while kernels load. The file is a pack too; it says which pack and driver it was made for, and is
// refused under any other.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "tessera/kernels/pack.h"
#include "tessera/runtime/device.h"

namespace tessera::kernels {

/// "ops.pack.sm_90-driver13000"
std::filesystem::path finished_path(const Pack& pack, const runtime::Device& device);

/// The finished pack; null when there is none or the device needs none. `corrupt`: it is damaged,
/// or was made from another pack.
Result<std::shared_ptr<const Pack>> open_finished(const Pack& pack, const runtime::Device& device);

/// Makes it from the pack's kernels for the device's architecture, in parallel, and opens it.
/// `threads`: 0 = all cores. `progress` is told how many are done, by one thread at a time. An
/// invalid_argument for devices that need none.
Result<std::shared_ptr<const Pack>> finish(
    const Pack& pack, runtime::Device& device, int threads,
    const std::function<void(size_t done, size_t total)>& progress = {});

/// What is there; one that is refused is reported and made again.
Result<std::shared_ptr<const Pack>> open_or_renew_finished(const Pack& pack,
                                                           runtime::Device& device, int threads);

}  // namespace tessera::kernels
