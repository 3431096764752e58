// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// bf16 tiles of 128 bytes of K: four stages are copied ahead, the matrix unit reads them through
// descriptors, one group of products stays under way from turn to turn. Where a base is not aligned
// elements pass through registers on their way.
// CHECK-LABEL: llvm.func @product(
// CHECK: cp.async.cg.shared.global
// CHECK: cp.async.commit_group
// CHECK: scf.for
// CHECK: cp.async.wait_group 1;
// CHECK: llvm.nvvm.barrier
// CHECK: wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16
// CHECK-SAME: wgmma.wait_group.sync.aligned 1
// CHECK: cp.async.cg.shared.global
// CHECK: wgmma.wait_group.sync.aligned 0
// CHECK: st.global.v4.b32
// CHECK: else
// CHECK-NOT: cp.async.cg
// CHECK: ld.global.nc.b16
// CHECK: wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16
tile.kernel @product views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"w" : bf16, read, slot = 4 extents = [128, 128] strides = [128]>,
    #tile.view<"y" : bf16, write, slot = 8 extents = [1, 128] strides = [128]>]
    scalars [] slots 12 {
  %zero = tile.constant 0 : tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %none = tile.constant 0 : tensor<128x256xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<128x256xf32>) -> tensor<128x256xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<128x256xf32>):
    %x = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x64xbf16>
    %w = tile.load 1 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<256x64xbf16>
    %d = tile.dot_scaled %x, %w, %acc scales 0 0 : (tensor<128x64xbf16>, tensor<256x64xbf16>, tensor<128x256xf32>) -> tensor<128x256xf32>
    tile.yield %d : tensor<128x256xf32>
  }
  %y = tile.cast %sum : tensor<128x256xf32> -> tensor<128x256xbf16>
  tile.store 2 [%zero, %zero] within 0 [], %y : (tensor<i64>, tensor<i64>, tensor<128x256xbf16>) -> ()
  tile.yield
}
