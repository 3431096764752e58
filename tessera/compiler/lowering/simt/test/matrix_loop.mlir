// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// bf16 tiles: two warpgroups multiply through descriptors and have more registers than the third, which copies boxes by
// the maps that follow the slots. Where a base is not aligned elements pass through registers.
// CHECK-LABEL: llvm.func @product(
// CHECK-SAME: llvm.byval = !llvm.array<128 x i8>, nvvm.grid_constant
// CHECK-SAME: nvvm.maxntid = array<i32: 384>, nvvm.minctasm = 1
// CHECK: mbarrier.init
// CHECK: llvm.nvvm.barrier.cta.sync.aligned.all
// CHECK: setmaxnreg.inc.sync.aligned.u32 208
// CHECK: scf.for
// CHECK: mbarrier.try_wait.parity
// CHECK: wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16
// CHECK-SAME: wgmma.wait_group.sync.aligned 0
// CHECK: mbarrier.arrive
// Four lanes trade registers, so that each stores 16 bytes.
// CHECK: llvm.nvvm.shfl.sync.bfly
// CHECK: st.global.v4.b32
// CHECK: setmaxnreg.dec.sync.aligned.u32 88
// CHECK: mbarrier.try_wait.parity
// CHECK: mbarrier.expect_tx
// CHECK: cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes
// CHECK-NOT: release.cluster
// CHECK: mbarrier.arrive
// CHECK: else
// CHECK-NOT: cp.async
// CHECK: ld.global.nc.b16
// CHECK: st.shared.v4.b32
// View's slot, rank, bytes of an element, rows and columns of a box.
// CHECK: llvm.mlir.global external constant @tensor_maps(dense<[0, 2, 2, 128, 64, 4, 2, 2, 256, 64]>
// CHECK-LABEL: llvm.func @experts(
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

// 64 gathered rows of e4m3 with FP4 weights: what is read is decoded one turn later.
// CHECK-SAME: nvvm.maxntid = array<i32: 384>
// CHECK: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// CHECK: st.global
// CHECK: ld.global.nc.v4.b32
// CHECK: scf.for
// CHECK: ld.global.nc.v4.b32
// CHECK: mbarrier.try_wait.parity
// CHECK: llvm.nvvm.prmt
// CHECK: fma.rn.bf16x2
// CHECK: st.shared.v4.b32
tile.kernel @experts views [
    #tile.view<"a" : f8E4M3FN, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"as" : f8E8M0FNU, read, slot = 4 extents = [1, 1] strides = [1]>,
    #tile.view<"w" : f4E2M1FN, read, slot = 8 extents = [128, 128] strides = [128]>,
    #tile.view<"ws" : f8E8M0FNU, read, slot = 12 extents = [1, 1] strides = [1]>,
    #tile.view<"slots" : i32, read, slot = 16 extents = [1]>,
    #tile.view<"y" : bf16, readwrite, slot = 18 extents = [1, 128] strides = [128]>]
    scalars [] slots 22 {
  %zero = tile.constant 0 : tensor<i64>
  %columns = tile.constant 64 : tensor<i64>
  %id = tile.program_id 0 : tensor<i64>
  %n = tile.mul %id, %columns : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %pairs = tile.load 4 [%zero] within 0 [] fill -1 : (tensor<i64>) -> tensor<64xi32>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 128 : tensor<i64>
  %group = tile.constant 128 : tensor<i64>
  %small = tile.constant 32 : tensor<i64>
  %none = tile.constant 0 : tensor<64x64xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<64x64xf32>) -> tensor<64x64xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<64x64xf32>):
    %a = tile.gather 0 [%zero, %at] within 0 [] fill 0 rows %pairs : (tensor<i64>, tensor<i64>, tensor<64xi32>) -> tensor<64x128xf8E4M3FN>
    %g = tile.div %at, %group : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %as = tile.gather 1 [%zero, %g] within 0 [] fill 1065353216 rows %pairs : (tensor<i64>, tensor<i64>, tensor<64xi32>) -> tensor<64x1xf8E8M0FNU>
    %w = tile.load 2 [%n, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x128xf4E2M1FN>
    %h = tile.div %at, %small : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %ws = tile.load 3 [%n, %h] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<64x4xf8E8M0FNU>
    %d = tile.dot_scaled %a, %w, %acc scales 1 1 a %as b %ws : (tensor<64x128xf8E4M3FN>, tensor<64x128xf4E2M1FN>, tensor<64x64xf32>, tensor<64x1xf8E8M0FNU>, tensor<64x4xf8E8M0FNU>) -> tensor<64x64xf32>
    tile.yield %d : tensor<64x64xf32>
  }
  %y = tile.cast %sum : tensor<64x64xf32> -> tensor<64x64xbf16>
  tile.scatter 5 [%zero, %n] within 0 [] rows %pairs, %y : (tensor<i64>, tensor<i64>, tensor<64xi32>, tensor<64x64xbf16>) -> ()
  tile.yield
}
