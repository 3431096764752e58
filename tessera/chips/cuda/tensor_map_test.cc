// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cuda/tensor_map.h"

#include <gtest/gtest.h>

#include <cstring>

namespace tessera::chips::cuda {
namespace {

struct Encoded {
  int type = -1;
  std::vector<uint64_t> extents, strides;
  std::vector<uint32_t> box;
} encoded;

CUresult accept(void*, int type, unsigned rank, void*, const uint64_t* extents,
                const uint64_t* strides, const uint32_t* box, const uint32_t*, int, int, int, int) {
  encoded = {type, {extents, extents + rank}, {strides, strides + rank - 1}, {box, box + rank}};
  return kSuccess;
}
CUresult refuse(void*, int, unsigned, void*, const uint64_t*, const uint64_t*, const uint32_t*,
                const uint32_t*, int, int, int, int) {
  return 1;
}

// A view of rank 3 in slots 1 to 6: address, extents, strides of the outer dimensions in elements.
constexpr uint64_t kSlots[] = {7, 0x1000, 5, 300, 200, 60000, 256};

TEST(TensorMapTest, CountsDimensionsFromTheInnermost) {
  Driver driver;
  driver.tensor_map_encode = accept;
  TensorMap map;
  ASSERT_TRUE(encode(driver, {1, 3, 2, 128, 64}, kSlots, map).ok());
  EXPECT_EQ(encoded.type, 9);  // bf16
  EXPECT_EQ(encoded.extents, (std::vector<uint64_t>{200, 300, 5}));
  EXPECT_EQ(encoded.strides, (std::vector<uint64_t>{512, 120000}));
  EXPECT_EQ(encoded.box, (std::vector<uint32_t>{64, 128, 1}));
}

TEST(TensorMapTest, EmptyViewsHaveAMap) {
  Driver driver;
  driver.tensor_map_encode = accept;
  TensorMap map;
  constexpr uint64_t kEmpty[] = {0x1000, 0, 0, 128};
  ASSERT_TRUE(encode(driver, {0, 2, 1, 128, 128}, kEmpty, map).ok());
  EXPECT_EQ(encoded.type, 0);  // bytes
  EXPECT_EQ(encoded.extents, (std::vector<uint64_t>{1, 1}));
}

TEST(TensorMapTest, RefusedViewIsShown) {
  Driver driver;
  driver.tensor_map_encode = refuse;
  TensorMap map;
  const auto result = encode(driver, {1, 3, 2, 128, 64}, kSlots, map);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(
      result.error().message,
      "the copy engine cannot reach a view at 0x1000 with extents 200 x 300 x 5 and strides of "
      "512 and 120000 bytes, innermost first");
}

TEST(TensorMapTest, DamagedDescriptionIsRefused) {
  Driver driver;
  static constexpr uint32_t kForm[] = {0, 6, 2, 128, 64};
  driver.module_global = [](CUdeviceptr* address, size_t* bytes, CUmodule, const char*) {
    *address = reinterpret_cast<CUdeviceptr>(kForm);
    *bytes = sizeof kForm;
    return kSuccess;
  };
  driver.copy_now = [](void* to, CUdeviceptr from, size_t bytes) {
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return kSuccess;
  };
  const auto forms = tensor_maps_of(driver, nullptr);
  ASSERT_FALSE(forms.ok());
  EXPECT_EQ(forms.error().message, "a kernel's tensor map has rank 6");
}

}  // namespace
}  // namespace tessera::chips::cuda
