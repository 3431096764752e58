// RUN: tessera-opt --tile-mark-roots --lower-to-avx512 %s | FileCheck %s

// The largest magnitude of widened bf16 numbers is found in their 16 bits, 64 of them at a time.
// CHECK-LABEL: llvm.func @widened_bf16(
// CHECK: arith.maxsi {{.*}} : vector<64xi16>
// CHECK-NOT: vector<{{[0-9]+}}xi32>
// CHECK: arith.extui {{.*}} : i16 to i32
// CHECK: llvm.return
tile.kernel @widened_bf16 views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1]>, #tile.view<"y" : i32, write, slot = 2 extents = [1, 1] strides = [1]>]
    scalars [] slots 6 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<256xbf16>
  %wide = tile.cast %x : tensor<256xbf16> -> tensor<256xf32>
  %rows = tile.reshape %wide : tensor<256xf32> -> tensor<2x128xf32>
  %bits = tile.bitcast %rows : tensor<2x128xf32> -> tensor<2x128xi32>
  %mask = tile.constant 2147483647 : tensor<2x128xi32>
  %all = tile.and %bits, %mask : (tensor<2x128xi32>, tensor<2x128xi32>) -> tensor<2x128xi32>
  %most = tile.reduce max %all axis 1 : tensor<2x128xi32> -> tensor<2x1xi32>
  tile.store 1 [%at, %at] within 0 [], %most : (tensor<i64>, tensor<i64>, tensor<2x1xi32>) -> ()
  tile.yield
}

// Other bits are compared as they are.
// CHECK-LABEL: llvm.func @other_mask(
// CHECK: arith.maxsi {{.*}} : vector<32xi32>
// CHECK: llvm.return
tile.kernel @other_mask views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1]>, #tile.view<"y" : i32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<128xbf16>
  %wide = tile.cast %x : tensor<128xbf16> -> tensor<128xf32>
  %bits = tile.bitcast %wide : tensor<128xf32> -> tensor<128xi32>
  %mask = tile.constant 1073741823 : tensor<128xi32>
  %all = tile.and %bits, %mask : (tensor<128xi32>, tensor<128xi32>) -> tensor<128xi32>
  %most = tile.reduce max %all axis 0 : tensor<128xi32> -> tensor<1xi32>
  tile.store 1 [%at] within 0 [], %most : (tensor<i64>, tensor<1xi32>) -> ()
  tile.yield
}
