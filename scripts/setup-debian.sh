#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the build and the tests need on Debian 12, as root or with sudo. When all is there it
# only asks dpkg and ends at once.
set -euo pipefail

packages=(
  # build
  build-essential ca-certificates ccache clang-22 clang-format-22 clang-tidy-22 cmake git
  libclang-rt-22-dev lld-22 ninja-build pkg-config
  # compiler stack; llvm-22-tools has lit and FileCheck
  libmlir-22-dev liblld-22-dev llvm-22 llvm-22-dev llvm-22-tools mlir-22-tools
  libxml2-dev zlib1g-dev libzstd-dev libffi-dev
  # libraries
  libbenchmark-dev libcli11-dev libedit-dev libevent-dev libfmt-dev libgtest-dev libhwloc-dev
  libopenblas-dev libpcre2-dev libspdlog-dev libutf8proc-dev libxxhash-dev nlohmann-json3-dev
  # jobs of several processes and machines
  libopenmpi-dev openmpi-bin
  # chips that need no GPU: lavapipe (Vulkan) and PoCL (OpenCL)
  libvulkan-dev mesa-vulkan-drivers ocl-icd-opencl-dev opencl-headers pocl-opencl-icd spirv-tools
  vulkan-tools vulkan-validationlayers
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "setup: this script knows Debian 12 only; please install: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "setup: needs root or sudo to install: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get -o Acquire::Retries=3 update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 \
  install -q -y --no-install-recommends "${missing[@]}"
