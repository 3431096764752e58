// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cuda/tensor_map.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace tessera::chips::cuda {
namespace {

constexpr size_t kMostRank = 5;
// CUtensorMapDataType and the like of the driver ABI.
constexpr int kBytes = 0, kBf16 = 9;
constexpr int kNotInterleaved = 0, kSwizzle128 = 3, kPromote128 = 2, kFillZero = 0;

}  // namespace

Result<std::vector<TensorMapForm>> tensor_maps_of(const Driver& driver, CUmodule module) {
  CUdeviceptr address = 0;
  size_t bytes = 0;
  if (driver.module_global(&address, &bytes, module, "tensor_maps") != kSuccess)
    return std::vector<TensorMapForm>();
  const size_t count = bytes / sizeof(TensorMapForm);
  if (bytes % sizeof(TensorMapForm) != 0 || count > kMaxTensorMaps)
    return make_error(ErrorCode::corrupt,
                      fmt::format("a kernel's tensor maps take {} bytes, not up to {} times {}",
                                  bytes, kMaxTensorMaps, sizeof(TensorMapForm)));
  std::vector<TensorMapForm> forms(count);
  TESSERA_TRY(driver.check(driver.copy_now(forms.data(), address, bytes),
                           "reading a kernel's tensor maps"));
  for (const TensorMapForm& form : forms)
    if (form.rank < 2 || form.rank > kMostRank)
      return make_error(ErrorCode::corrupt,
                        fmt::format("a kernel's tensor map has rank {}", form.rank));
  return forms;
}

Result<void> encode(const Driver& driver, const TensorMapForm& form,
                    std::span<const uint64_t> slots, TensorMap& map) {
  uint64_t extents[kMostRank], strides[kMostRank];
  uint32_t box[kMostRank], steps[kMostRank];
  const uint32_t rank = form.rank;
  // The engine counts dimensions from the innermost; an empty one is never read.
  for (uint32_t d = 0; d < rank; ++d) {
    extents[d] = std::max<uint64_t>(1, slots[form.slot + rank - d]);
    box[d] = d == 0 ? form.columns : d == 1 ? form.rows : 1;
    steps[d] = 1;
    if (d > 0) strides[d - 1] = slots[form.slot + 2 * rank - d] * form.element_bytes;
  }
  const CUresult status =
      driver.tensor_map_encode(&map, form.element_bytes == 2 ? kBf16 : kBytes, rank,
                               reinterpret_cast<void*>(slots[form.slot]), extents, strides, box,
                               steps, kNotInterleaved, kSwizzle128, kPromote128, kFillZero);
  if (status == kSuccess) [[likely]]
    return {};
  return invalid_argument(fmt::format(
      "the copy engine cannot reach a view at {:#x} with extents {} and strides of {} bytes, "
      "innermost first",
      slots[form.slot], fmt::join(std::span(extents, rank), " x "),
      fmt::join(std::span(strides, rank - 1), " and ")));
}

}  // namespace tessera::chips::cuda
