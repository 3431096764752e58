// SPDX-License-Identifier: Apache-2.0
// A fuzz target defines these two. fuzz_main.cc runs it over its seeds and random changes of them,
// the same ones every time; with libFuzzer (-DTESSERA_LIBFUZZER=ON) LLVMFuzzerTestOneInput is
// enough.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// Inputs from which random ones are made.
std::vector<std::string> fuzz_seeds();

/// Must neither crash nor break a TESSERA_CHECK. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
