// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// Eight rows of e4m3 activations, 16 of FP4 weights: 16 bytes of a row of weights a thread, all of a
// turn read ahead. Four lanes trade words, so that two products have one scale of weights, which
// multiplies their sum; the scale of activations multiplies the sum of four blocks. Warps share K
// and meet after the loop.
// CHECK-LABEL: llvm.func @eight_rows(
// CHECK-SAME: nvvm.maxntid = array<i32: 128>
// CHECK: scf.for {{.*}} -> (f32, f32, f32, f32)
// CHECK-COUNT-8: ld.global.nc.v4.b32
// CHECK-NOT: ld.global.nc.v4.b32
// CHECK-COUNT-16: ld.global.nc.v2.b32
// CHECK-COUNT-8: llvm.nvvm.shfl.sync.bfly
// CHECK-NOT: llvm.nvvm.shfl
// CHECK: llvm.nvvm.e4m3x2.to.f16x2.rn
// CHECK-COUNT-8: llvm.nvvm.mma.m16n8k16.row.col.f32.f32
// CHECK-COUNT-8: math.fma
// CHECK-COUNT-24: llvm.nvvm.mma.m16n8k16.row.col.f32.f32
// CHECK-NOT: llvm.nvvm.mma
// CHECK: llvm.nvvm.barrier
// CHECK: else
// CHECK-LABEL: llvm.func @sixteen_rows(
tile.kernel @eight_rows views [
    #tile.view<"a" : f8E4M3FN, read, slot = 0 extents = [8, 128] strides = [128]>,
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
  %none = tile.constant 0 : tensor<8x16xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<8x16xf32>) -> tensor<8x16xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<8x16xf32>):
    %a = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<8x2048xf8E4M3FN>
    %g = tile.div %at, %group : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %as = tile.load 1 [%zero, %g] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<8x16xf8E8M0FNU>
    %w = tile.load 2 [%n, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<16x2048xf4E2M1FN>
    %h = tile.div %at, %small : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %ws = tile.load 3 [%n, %h] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<16x64xf8E8M0FNU>
    %d = tile.dot_scaled %a, %w, %acc scales 1 1 a %as b %ws : (tensor<8x2048xf8E4M3FN>, tensor<16x2048xf4E2M1FN>, tensor<8x16xf32>, tensor<8x16xf8E8M0FNU>, tensor<16x64xf8E8M0FNU>) -> tensor<8x16xf32>
    tile.yield %d : tensor<8x16xf32>
  }
  %y = tile.cast %sum : tensor<8x16xf32> -> tensor<8x16xbf16>
  tile.store 4 [%zero, %n] within 0 [], %y : (tensor<i64>, tensor<i64>, tensor<8x16xbf16>) -> ()
  tile.yield
}

// Sixteen rows, 16 of FP8 weights, whose scales multiply sums of 64 of K.
// CHECK-SAME: nvvm.maxntid = array<i32: 256>
// CHECK: scf.for {{.*}} -> (f32, f32, f32, f32, f32, f32, f32, f32)
// CHECK-COUNT-16: ld.global.nc.v4.b32
// CHECK-NOT: ld.global.nc.v4.b32
// CHECK-NOT: llvm.nvvm.shfl
// CHECK: llvm.nvvm.e4m3x2.to.f16x2.rn
// CHECK-COUNT-4: llvm.nvvm.mma.m16n8k16.row.col.f32.f32
// CHECK-COUNT-4: math.fma
// CHECK-COUNT-28: llvm.nvvm.mma.m16n8k16.row.col.f32.f32
// CHECK-NOT: llvm.nvvm.mma
// CHECK: llvm.nvvm.barrier
// CHECK: else
tile.kernel @sixteen_rows views [
    #tile.view<"a" : f8E4M3FN, read, slot = 0 extents = [8, 128] strides = [128]>,
    #tile.view<"as" : f8E8M0FNU, read, slot = 4 extents = [1, 1] strides = [1]>,
    #tile.view<"w" : f8E4M3FN, read, slot = 8 extents = [128, 128] strides = [128]>,
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
  %small = tile.constant 128 : tensor<i64>
  %none = tile.constant 0 : tensor<16x16xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<16x16xf32>) -> tensor<16x16xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<16x16xf32>):
    %a = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<16x2048xf8E4M3FN>
    %g = tile.div %at, %group : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %as = tile.load 1 [%zero, %g] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<16x16xf8E8M0FNU>
    %w = tile.load 2 [%n, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<16x2048xf8E4M3FN>
    %nb = tile.div %n, %group : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %h = tile.div %at, %small : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %ws = tile.load 3 [%nb, %h] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<1x16xf8E8M0FNU>
    %d = tile.dot_scaled %a, %w, %acc scales 1 1 a %as b %ws : (tensor<16x2048xf8E4M3FN>, tensor<16x2048xf8E4M3FN>, tensor<16x16xf32>, tensor<16x16xf8E8M0FNU>, tensor<1x16xf8E8M0FNU>) -> tensor<16x16xf32>
    tile.yield %d : tensor<16x16xf32>
  }
  %y = tile.cast %sum : tensor<16x16xf32> -> tensor<16x16xbf16>
  tile.store 4 [%zero, %n] within 0 [], %y : (tensor<i64>, tensor<i64>, tensor<16x16xbf16>) -> ()
  tile.yield
}
