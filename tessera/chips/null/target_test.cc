// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/null/target.h"

#include <gtest/gtest.h>

#include "tessera/chips/null/device.h"
#include "tessera/lang/kernel_builder.h"

namespace tessera::chips::null {
namespace {

TEST(NullTarget, ServesItsDevice) {
  const auto all = targets();
  ASSERT_EQ(all.size(), 1u);
  NullDevice device({});
  EXPECT_EQ(all[0]->arch(), device.info().arch);
}

TEST(NullTarget, ImagesLoadAndKeepTheAuthorsLines) {
  auto trace = lang::trace_kernel("copy", [](lang::KernelBuilder& k) {
    store(k.view("y", DType::f32, 1, lang::Access::kWrite), {0}, 1.5);
  });
  ASSERT_TRUE(trace.ok());
  auto image = targets()[0]->compile(*trace, {});
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->entry, "copy");
  EXPECT_EQ(image->slot_count, 2u);
  NullDevice device({});
  auto kernel = device.load(*image);
  ASSERT_TRUE(kernel.ok()) << kernel.error().to_string();
  EXPECT_EQ(static_cast<NullExecutable&>(**kernel).trace().to_string(), trace->to_string());
}

}  // namespace
}  // namespace tessera::chips::null
