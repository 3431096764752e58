# SPDX-License-Identifier: Apache-2.0
# A helper, not the build system: the build is CMake (CMakePresets.json), for development see ./dev.
.PHONY: run test build setup clean
.DEFAULT_GOAL := build

run: build
	@build/release/bin/tessera tour

# All tests that need no GPU and are not slow.
test: build
	ctest --preset release

build: setup
	cmake --preset release
	cmake --build --preset release

setup:
	@scripts/setup-debian.sh

clean:
	rm -rf build
