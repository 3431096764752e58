// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/thread_pool.h"

#include <benchmark/benchmark.h>
