// RUN: tessera-opt --tile-row-products %s | FileCheck %s

// One row of activations, two of FP8 weights with scales: partial sums of chunks of 16 elements are
// carried, each chunk is scaled once, one reduction follows.
// CHECK-LABEL: tile.kernel @one_row
// CHECK: tile.for {{.*}} carry
// CHECK: tile.mul
// CHECK-COUNT-16: tile.fma
// CHECK-NOT: tile.dot_scaled
// CHECK: tile.yield {{.*}} : tensor<16xf32>, tensor<16xf32>
// CHECK: tile.concat {{.*}} -> tensor<16x2xf32>
// CHECK: tile.reduce sum {{.*}} axis 0 : tensor<16x2xf32> -> tensor<1x2xf32>
tile.kernel @one_row views [
    #tile.view<"a" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"w" : f8E4M3FN, read, slot = 4 extents = [128, 128] strides = [128]>,
    #tile.view<"s" : f8E8M0FNU, read, slot = 8 extents = [1, 1] strides = [1]>,
    #tile.view<"y" : f32, write, slot = 12 extents = [1, 128] strides = [128]>]
    scalars [] slots 16 {
  %zero = tile.constant 0 : tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 256 : tensor<i64>
  %group = tile.constant 128 : tensor<i64>
  %none = tile.constant 0 : tensor<1x2xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<1x2xf32>) -> tensor<1x2xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<1x2xf32>):
    %a = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<1x256xbf16>
    %w = tile.load 1 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<2x256xf8E4M3FN>
    %g = tile.div %at, %group : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %s = tile.load 2 [%zero, %g] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<1x2xf8E8M0FNU>
    %d = tile.dot_scaled %a, %w, %acc scales 0 1 b %s : (tensor<1x256xbf16>, tensor<2x256xf8E4M3FN>, tensor<1x2xf32>, tensor<1x2xf8E8M0FNU>) -> tensor<1x2xf32>
    tile.yield %d : tensor<1x2xf32>
  }
  tile.store 3 [%zero, %zero] within 0 [], %sum : (tensor<i64>, tensor<i64>, tensor<1x2xf32>) -> ()
  tile.yield
}
