// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// Eight threads hold a row of 128 bytes: three exchanges, nothing through memory, no barrier.
// CHECK-LABEL: llvm.func @within_lanes(
// CHECK-COUNT-3: llvm.nvvm.shfl.sync.bfly.i32
// CHECK-NOT: llvm.nvvm.shfl
// CHECK-NOT: llvm.nvvm.barrier
// CHECK: else
tile.kernel @within_lanes views [
    #tile.view<"x" : i8, read, slot = 0 extents = [128]>,
    #tile.view<"y" : i32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<1024xi8>
  %rows = tile.reshape %x : tensor<1024xi8> -> tensor<8x128xi8>
  %wide = tile.cast %rows : tensor<8x128xi8> -> tensor<8x128xi32>
  %most = tile.reduce max %wide axis 1 : tensor<8x128xi32> -> tensor<8x1xi32>
  %line = tile.reshape %most : tensor<8x1xi32> -> tensor<8xi32>
  tile.store 1 [%at] within 0 [], %line : (tensor<i64>, tensor<8xi32>) -> ()
  tile.yield
}

// A row of all threads: five exchanges, then one pass through memory with one barrier in front of
// the writes (the program before) and one behind.
// CHECK-LABEL: llvm.func @between_warps(
// CHECK: scf.if
// CHECK-COUNT-5: llvm.nvvm.shfl.sync.bfly.i32
// CHECK-NOT: llvm.nvvm.shfl
// CHECK: llvm.nvvm.barrier
// CHECK: llvm.store
// CHECK: llvm.nvvm.barrier
// CHECK: llvm.load
// CHECK-NOT: llvm.nvvm.barrier
// CHECK: else
tile.kernel @between_warps views [
    #tile.view<"x" : f32, read, slot = 0 extents = [128]>,
    #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<1024xf32>
  %sum = tile.reduce sum %x axis 0 : tensor<1024xf32> -> tensor<1xf32>
  tile.store 1 [%at] within 0 [], %sum : (tensor<i64>, tensor<1xf32>) -> ()
  tile.yield
}

// Products that are only summed are fused into the sum.
// CHECK-LABEL: llvm.func @squares(
// CHECK-COUNT-3: math.fma
// CHECK-NOT: math.fma
// CHECK: llvm.nvvm.shfl.sync.bfly.i32
// CHECK: else
tile.kernel @squares views [
    #tile.view<"x" : f32, read, slot = 0 extents = [128]>,
    #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<1024xf32>
  %square = tile.mul %x, %x : (tensor<1024xf32>, tensor<1024xf32>) -> tensor<1024xf32>
  %sum = tile.reduce sum %square axis 0 : tensor<1024xf32> -> tensor<1xf32>
  tile.store 1 [%at] within 0 [], %sum : (tensor<i64>, tensor<1xf32>) -> ()
  tile.yield
}
