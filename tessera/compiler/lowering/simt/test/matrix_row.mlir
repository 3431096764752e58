// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// One row of e4m3 activations, 16 of FP4 weights: 16 bytes of a row of weights a thread, all of a
// turn read ahead, decoded to f16 in registers. Of mma.sync's sums a thread takes the two that are
// its own, times the scale of its block; lanes and warps meet after the loop.
// CHECK-LABEL: llvm.func @one_row(
// CHECK-SAME: nvvm.maxntid = array<i32: 64>
// CHECK: scf.for {{.*}} -> (f32, f32)
// CHECK-COUNT-32: ld.global.nc.v4.b32
// CHECK-NOT: ld.global.nc.v4.b32
// CHECK: llvm.nvvm.e4m3x2.to.f16x2.rn
// CHECK-COUNT-8: llvm.nvvm.mma.m16n8k16.row.col.f32.f32
// CHECK-COUNT-2: math.fma
// CHECK-COUNT-56: llvm.nvvm.mma.m16n8k16.row.col.f32.f32
// CHECK-NOT: llvm.nvvm.mma
// CHECK: scf.yield
// CHECK-COUNT-4: llvm.nvvm.shfl.sync.bfly
// CHECK: llvm.nvvm.barrier
// CHECK: else
tile.kernel @one_row views [
    #tile.view<"a" : f8E4M3FN, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"as" : f8E8M0FNU, read, slot = 4 extents = [1, 1] strides = [1]>,
    #tile.view<"w" : f4E2M1FN, read, slot = 8 extents = [128, 128] strides = [128]>,
    #tile.view<"ws" : f8E8M0FNU, read, slot = 12 extents = [1, 1] strides = [1]>,
    #tile.view<"y" : bf16, write, slot = 16 extents = [1, 128] strides = [128]>]
    scalars [] slots 20 {
  %zero = tile.constant 0 : tensor<i64>
  %rows = tile.constant 16 : tensor<i64>
  %id = tile.program_id 0 : tensor<i64>
  %n = tile.mul %id, %rows : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 2048 : tensor<i64>
  %group = tile.constant 128 : tensor<i64>
  %small = tile.constant 32 : tensor<i64>
  %none = tile.constant 0 : tensor<1x16xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<1x16xf32>) -> tensor<1x16xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<1x16xf32>):
    %a = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<1x2048xf8E4M3FN>
    %g = tile.div %at, %group : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %as = tile.load 1 [%zero, %g] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<1x16xf8E8M0FNU>
    %w = tile.load 2 [%n, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<16x2048xf4E2M1FN>
    %h = tile.div %at, %small : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %ws = tile.load 3 [%n, %h] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<16x64xf8E8M0FNU>
    %d = tile.dot_scaled %a, %w, %acc scales 1 1 a %as b %ws : (tensor<1x2048xf8E4M3FN>, tensor<16x2048xf4E2M1FN>, tensor<1x16xf32>, tensor<1x16xf8E8M0FNU>, tensor<16x64xf8E8M0FNU>) -> tensor<1x16xf32>
    tile.yield %d : tensor<1x16xf32>
  }
  %y = tile.cast %sum : tensor<1x16xf32> -> tensor<1x16xbf16>
  tile.store 4 [%zero, %n] within 0 [], %y : (tensor<i64>, tensor<i64>, tensor<1x16xbf16>) -> ()
  tile.yield
}

// Two products of the row: 8 rows of each are the instruction's 16, and all that is read of both is
// under way before the first of it is needed.
// CHECK-LABEL: llvm.func @two_products(
// CHECK: scf.for {{.*}} -> (f32, f32)
// CHECK-COUNT-32: ld.global.nc.v4.b32
// CHECK-NOT: ld.global.nc.v4.b32
// CHECK-COUNT-32: llvm.nvvm.mma.m16n8k16.row.col.bf16
// CHECK-NOT: llvm.nvvm.mma
// CHECK: scf.yield
// CHECK-COUNT-4: llvm.nvvm.shfl.sync.bfly
// CHECK: else
tile.kernel @two_products views [
    #tile.view<"a" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"v" : f8E4M3FN, read, slot = 4 extents = [128, 128] strides = [128]>,
    #tile.view<"w" : f8E4M3FN, read, slot = 8 extents = [128, 128] strides = [128]>,
    #tile.view<"y" : f32, write, slot = 12 extents = [1, 128] strides = [128]>]
    scalars [] slots 16 {
  %zero = tile.constant 0 : tensor<i64>
  %rows = tile.constant 8 : tensor<i64>
  %id = tile.program_id 0 : tensor<i64>
  %n = tile.mul %id, %rows : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 1024 : tensor<i64>
  %none = tile.constant 0 : tensor<1x8xf32>
  %sums:2 = tile.for %zero to %k step %step carry %none, %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<1x8xf32>, tensor<1x8xf32>) -> (tensor<1x8xf32>, tensor<1x8xf32>) {
  ^bb0(%at: tensor<i64>, %one: tensor<1x8xf32>, %other: tensor<1x8xf32>):
    %a = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<1x1024xbf16>
    %v = tile.load 1 [%n, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<8x1024xf8E4M3FN>
    %w = tile.load 2 [%n, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<8x1024xf8E4M3FN>
    %d = tile.dot_scaled %a, %v, %one scales 0 0 : (tensor<1x1024xbf16>, tensor<8x1024xf8E4M3FN>, tensor<1x8xf32>) -> tensor<1x8xf32>
    %e = tile.dot_scaled %a, %w, %other scales 0 0 : (tensor<1x1024xbf16>, tensor<8x1024xf8E4M3FN>, tensor<1x8xf32>) -> tensor<1x8xf32>
    tile.yield %d, %e : tensor<1x8xf32>, tensor<1x8xf32>
  }
  %y = tile.mul %sums#0, %sums#1 : (tensor<1x8xf32>, tensor<1x8xf32>) -> tensor<1x8xf32>
  tile.store 3 [%zero, %n] within 0 [], %y : (tensor<i64>, tensor<i64>, tensor<1x8xf32>) -> ()
  tile.yield
}
