// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// e4m3 by e2m1 with scales for 32 of K: weights become e5m2 on their way, relative to the largest scale of what a warp
// decodes; one lane of it notes that one beside the stage. Who multiplies reads the four of a stage by one lane a warp,
// while the products are under way.
// CHECK-LABEL: llvm.func @product(
// CHECK: mbarrier.try_wait.parity
// CHECK: @reads ld.shared.v4.b32
// CHECK: llvm.nvvm.shfl.sync.idx.i32
// CHECK: wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e5m2
// CHECK: mbarrier.arrive
// CHECK: math.fma
// CHECK: cp.async.bulk.tensor.2d
// CHECK: llvm.nvvm.redux.sync.umax
// CHECK: @wanted st.shared.b32
// CHECK: llvm.nvvm.prmt
// CHECK: st.shared.v4.b32
// CHECK: @tensor_maps(dense<[0, 2, 1, 128, 128]>
tile.kernel @product views [
    #tile.view<"a" : f8E4M3FN, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"as" : f8E8M0FNU, read, slot = 4 extents = [1, 1] strides = [1]>,
    #tile.view<"w" : f4E2M1FN, read, slot = 8 extents = [128, 128] strides = [128]>,
    #tile.view<"ws" : f8E8M0FNU, read, slot = 12 extents = [1, 4] strides = [4]>,
    #tile.view<"y" : bf16, write, slot = 16 extents = [1, 128] strides = [128]>]
    scalars [] slots 20 {
  %zero = tile.constant 0 : tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 128 : tensor<i64>
  %block = tile.constant 32 : tensor<i64>
  %none = tile.constant 0 : tensor<128x128xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<128x128xf32>) -> tensor<128x128xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<128x128xf32>):
    %a = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x128xf8E4M3FN>
    %g = tile.div %at, %step : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %h = tile.div %at, %block : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %as = tile.load 1 [%zero, %g] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<128x1xf8E8M0FNU>
    %w = tile.load 2 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x128xf4E2M1FN>
    %ws = tile.load 3 [%zero, %h] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<128x4xf8E8M0FNU>
    %d = tile.dot_scaled %a, %w, %acc scales 1 1 a %as b %ws : (tensor<128x128xf8E4M3FN>, tensor<128x128xf4E2M1FN>, tensor<128x128xf32>, tensor<128x1xf8E8M0FNU>, tensor<128x4xf8E8M0FNU>) -> tensor<128x128xf32>
    tile.yield %d : tensor<128x128xf32>
  }
  %y = tile.cast %sum : tensor<128x128xf32> -> tensor<128x128xbf16>
  tile.store 4 [%zero, %zero] within 0 [], %y : (tensor<i64>, tensor<i64>, tensor<128x128xbf16>) -> ()
  tile.yield
}
