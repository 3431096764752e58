// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// A step of a Hadamard transform. The two halves lie in two lanes: these exchange once, and one fma adds
// or subtracts.
// CHECK-LABEL: llvm.func @lanes(
// CHECK: llvm.nvvm.shfl.sync.bfly
// CHECK: math.fma
// CHECK: llvm.nvvm.shfl.sync.bfly
// CHECK: math.fma
// CHECK-NOT: llvm.nvvm.shfl
// CHECK-NOT: arith.addf
// CHECK-NOT: arith.subf
// CHECK: llvm.return
tile.kernel @lanes views [
    #tile.view<"x" : f32, read, slot = 0 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<64xf32>
  %halves = tile.reshape %x : tensor<64xf32> -> tensor<2x32xf32>
  %pairs = tile.transpose %halves [1, 0] : tensor<2x32xf32> -> tensor<32x2xf32>
  %even, %odd = tile.split %pairs : (tensor<32x2xf32>) -> (tensor<32x1xf32>, tensor<32x1xf32>)
  %sum = tile.add %even, %odd : (tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<32x1xf32>
  %difference = tile.sub %even, %odd : (tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<32x1xf32>
  %both = tile.concat %sum, %difference axis 1 : (tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<32x2xf32>
  %y = tile.reshape %both : tensor<32x2xf32> -> tensor<64xf32>
  tile.store 1 [%at] within 0 [], %y : (tensor<i64>, tensor<64xf32>) -> ()
  tile.yield
}
