// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// A Hadamard transform of rows of bf16: four bits of a row by the matrix unit, the fifth by additions
// in registers; nothing is exchanged and nothing passes through memory.
// CHECK-LABEL: llvm.func @rows(
// CHECK-COUNT-2: llvm.call_intrinsic "llvm.nvvm.mma.m16n8k16.row.col.bf16"
// CHECK-COUNT-4: arith.addf
// CHECK-NOT: llvm.nvvm.shfl
// CHECK-NOT: llvm.nvvm.barrier
// CHECK: else
tile.kernel @rows views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1, 32] strides = [32]>,
    #tile.view<"y" : f32, write, slot = 4 extents = [1, 32] strides = [32]>]
    scalars [] slots 8 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<8x32xbf16>
  %y0 = tile.cast %x : tensor<8x32xbf16> -> tensor<8x32xf32>
  %e0, %o0 = tile.split %y0 : (tensor<8x32xf32>) -> (tensor<8x16xf32>, tensor<8x16xf32>)
  %s0 = tile.add %e0, %o0 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %d0 = tile.sub %e0, %o0 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %y1 = tile.concat %s0, %d0 axis 1 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x32xf32>
  %e1, %o1 = tile.split %y1 : (tensor<8x32xf32>) -> (tensor<8x16xf32>, tensor<8x16xf32>)
  %s1 = tile.add %e1, %o1 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %d1 = tile.sub %e1, %o1 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %y2 = tile.concat %s1, %d1 axis 1 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x32xf32>
  %e2, %o2 = tile.split %y2 : (tensor<8x32xf32>) -> (tensor<8x16xf32>, tensor<8x16xf32>)
  %s2 = tile.add %e2, %o2 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %d2 = tile.sub %e2, %o2 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %y3 = tile.concat %s2, %d2 axis 1 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x32xf32>
  %e3, %o3 = tile.split %y3 : (tensor<8x32xf32>) -> (tensor<8x16xf32>, tensor<8x16xf32>)
  %s3 = tile.add %e3, %o3 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %d3 = tile.sub %e3, %o3 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %y4 = tile.concat %s3, %d3 axis 1 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x32xf32>
  %e4, %o4 = tile.split %y4 : (tensor<8x32xf32>) -> (tensor<8x16xf32>, tensor<8x16xf32>)
  %s4 = tile.add %e4, %o4 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %d4 = tile.sub %e4, %o4 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x16xf32>
  %y5 = tile.concat %s4, %d4 axis 1 : (tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<8x32xf32>
  tile.store 1 [%at, %at] within 0 [], %y5 : (tensor<i64>, tensor<i64>, tensor<8x32xf32>) -> ()
  tile.yield
}
