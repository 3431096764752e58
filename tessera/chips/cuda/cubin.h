// SPDX-License-Identifier: Apache-2.0
// Machine code of one GPU, made from PTX by the linker that every driver carries.
#pragma once

#include "tessera/chips/cuda/device.h"

namespace tessera::chips::cuda {

inline constexpr std::string_view kPtx = "ptx", kCubin = "cubin";  // KernelImage::format

/// The same kernel for the device's GPU. `corrupt`, with the driver's log, for PTX it refuses.
Result<runtime::KernelImage> make_cubin(const CudaDevice& device, const runtime::KernelImage& ptx);

/// "..\n<log>" for an image the driver refused.
Error refused(const Driver& driver, CUresult status, std::string_view what, std::string_view log);

}  // namespace tessera::chips::cuda
