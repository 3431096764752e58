// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// e4m3 by e4m3, scales for blocks of 128 of K: multiplied as it is. A turn's sums are apart until they are scaled, after
// the stage is free; the scales of the next turn are read before. Two warpgroups take turns at the matrix unit.
// CHECK-LABEL: llvm.func @product(
// CHECK: setmaxnreg.inc
// CHECK: @wanted bar.arrive $0, 256
// CHECK: scf.for
// CHECK: scf.for
// CHECK: ld.global.nc.b8
// CHECK: mbarrier.try_wait.parity
// CHECK: setp.ne.b32 first, 0, 0
// CHECK-SAME: bar.sync ${{[0-9]+}}, 256
// CHECK-SAME: wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3
// CHECK-SAME: bar.arrive ${{[0-9]+}}, 256
// CHECK-SAME: wgmma.wait_group.sync.aligned 0
// CHECK: mbarrier.arrive
// CHECK: math.fma
// CHECK: setmaxnreg.dec
// CHECK: cp.async.bulk.tensor.2d
// CHECK: @tensor_maps(dense<[0, 2, 1, 128, 128, 8, 2, 1, 128, 128]>
tile.kernel @product views [
    #tile.view<"a" : f8E4M3FN, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"as" : f8E8M0FNU, read, slot = 4 extents = [1, 1] strides = [1]>,
    #tile.view<"w" : f8E4M3FN, read, slot = 8 extents = [128, 128] strides = [128]>,
    #tile.view<"ws" : f8E8M0FNU, read, slot = 12 extents = [1, 1] strides = [1]>,
    #tile.view<"y" : bf16, write, slot = 16 extents = [1, 128] strides = [128]>]
    scalars [] slots 20 {
  %zero = tile.constant 0 : tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 128 : tensor<i64>
  %none = tile.constant 0 : tensor<128x128xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<128x128xf32>) -> tensor<128x128xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<128x128xf32>):
    %a = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x128xf8E4M3FN>
    %g = tile.div %at, %step : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %as = tile.load 1 [%zero, %g] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<128x1xf8E8M0FNU>
    %w = tile.load 2 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x128xf8E4M3FN>
    %ws = tile.load 3 [%zero, %g] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<1x1xf8E8M0FNU>
    %d = tile.dot_scaled %a, %w, %acc scales 1 1 a %as b %ws : (tensor<128x128xf8E4M3FN>, tensor<128x128xf8E4M3FN>, tensor<128x128xf32>, tensor<128x1xf8E8M0FNU>, tensor<1x1xf8E8M0FNU>) -> tensor<128x128xf32>
    tile.yield %d : tensor<128x128xf32>
  }
  %y = tile.cast %sum : tensor<128x128xf32> -> tensor<128x128xbf16>
  tile.store 4 [%zero, %zero] within 0 [], %y : (tensor<i64>, tensor<i64>, tensor<128x128xbf16>) -> ()
  tile.yield
}
