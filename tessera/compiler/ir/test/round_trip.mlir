// RUN: tessera-opt %s | tessera-opt | FileCheck %s

// CHECK: tile.kernel @sample views [#tile.view<"x" : bf16, read, slot = 0 extents = [1, 16] strides = [128]>, #tile.view<"y" : f32, readwrite, slot = 4 extents = [1, 1] strides = [1] streamed = true>, #tile.view<"n" : i32, read, slot = 8 extents = [1] constant = true>] scalars [#tile.scalar<"eps" : f32, slot = 10>] slots 11
tile.kernel @sample views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1, 16] strides = [128]>,
    #tile.view<"y" : f32, readwrite, slot = 4 extents = [1, 1] strides = [1] streamed = true>,
    #tile.view<"n" : i32, read, slot = 8 extents = [1] constant = true>]
    scalars [#tile.scalar<"eps" : f32, slot = 10>] slots 11 {
  // CHECK: tile.program_id 0 : tensor<i64>
  %row = tile.program_id 0 : tensor<i64>
  %zero = tile.constant 0 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  // CHECK: tile.extent 0, 1 : tensor<i64>
  %end = tile.extent 0, 1 : tensor<i64>
  // CHECK: tile.scalar_arg 0 : tensor<f32>
  %eps = tile.scalar_arg 0 : tensor<f32>
  %sum0 = tile.constant 0 : tensor<1x64xf32>
  // CHECK: tile.for {{.*}} to {{.*}} step {{.*}} carry
  %sum = tile.for %zero to %end step %step carry %sum0
      : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<1x64xf32>) -> tensor<1x64xf32> {
  ^bb0(%c: tensor<i64>, %s: tensor<1x64xf32>):
    // CHECK: tile.load 0[{{.*}}] within 2[{{.*}}] fill 1056964608
    %x = tile.load 0 [%row, %c] within 2 [%end] fill 1056964608
        : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<1x64xbf16>
    %wide = tile.cast %x : tensor<1x64xbf16> -> tensor<1x64xf32>
    %next = tile.add %s, %wide : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32>
    tile.yield %next : tensor<1x64xf32>
  }
  // CHECK: tile.reduce sum {{.*}} axis 1
  %total = tile.reduce sum %sum axis 1 : tensor<1x64xf32> -> tensor<1x1xf32>
  %all = tile.broadcast %total : tensor<1x1xf32> -> tensor<1x64xf32>
  // CHECK: tile.compare gt
  %positive = tile.compare gt %sum, %all : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xi1>
  %limit = tile.constant 3 : tensor<i64>
  %few = tile.compare lt %row, %limit : (tensor<i64>, tensor<i64>) -> tensor<i1>
  // CHECK: tile.if
  tile.if %few : (tensor<i1>) -> () {
    // CHECK: tile.store 1[{{.*}}] within 0[], {{.*}} where
    tile.store 1 [%row, %zero] within 0 [], %all where %positive
        : (tensor<i64>, tensor<i64>, tensor<1x64xf32>, tensor<1x64xi1>) -> ()
    tile.yield
  } else {
    tile.yield
  }
  tile.yield
}
