// SPDX-License-Identifier: Apache-2.0
// How much memory this process has in RAM: anonymous pages, and those of files it has touched.
#pragma once

#include <cstdint>

namespace tessera {

/// Bytes now; 0 where /proc is absent.
int64_t resident_bytes();
/// The most there have been since the process began.
int64_t peak_resident_bytes();

}  // namespace tessera
