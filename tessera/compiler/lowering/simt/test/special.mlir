// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// A launch of the grid's own shape names a program's place; any other is divided.
// CHECK-LABEL: llvm.func @pairs(
// CHECK: llvm.nvvm.read.ptx.sreg.ctaid.y
// CHECK: scf.if
// CHECK-NOT: arith.divui
// CHECK: else
// CHECK: arith.divui
// Numbers become narrower two at a time.
// CHECK-COUNT-2: llvm.nvvm.ff2bf16x2.rn
// CHECK: llvm.nvvm.ff.to.e4m3x2.rn
// CHECK: else
tile.kernel @pairs views [
    #tile.view<"x" : f32, read, slot = 0 extents = [128]>,
    #tile.view<"y" : bf16, write, slot = 2 extents = [128]>,
    #tile.view<"z" : f8E4M3FN, write, slot = 4 extents = [128]>]
    scalars [] slots 6 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<128xf32>
  %y = tile.cast %x : tensor<128xf32> -> tensor<128xbf16>
  tile.store 1 [%at] within 0 [], %y : (tensor<i64>, tensor<128xbf16>) -> ()
  %z = tile.cast %x : tensor<128xf32> -> tensor<128xf8E4M3FN>
  tile.store 2 [%at] within 0 [], %z : (tensor<i64>, tensor<128xf8E4M3FN>) -> ()
  tile.yield
}

// Powers and reciprocals come from the function unit; nothing is divided.
// CHECK-LABEL: llvm.func @functions(
// CHECK: llvm.nvvm.fma.rn.sat.f
// CHECK: llvm.nvvm.ex2.approx.ftz
// CHECK: llvm.nvvm.ex2.approx
// CHECK: llvm.nvvm.rcp.approx.ftz.f
// CHECK-NOT: arith.divf
tile.kernel @functions views [
    #tile.view<"x" : f32, read, slot = 0 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<32xf32>
  %a = tile.exp %x : tensor<32xf32> -> tensor<32xf32>
  %b = tile.exp2 %a : tensor<32xf32> -> tensor<32xf32>
  %c = tile.sigmoid %b : tensor<32xf32> -> tensor<32xf32>
  tile.store 1 [%at] within 0 [], %c : (tensor<i64>, tensor<32xf32>) -> ()
  tile.yield
}

// Four rows of 512: each lies in one warp, whose lanes and registers hold it.
// CHECK-LABEL: llvm.func @rows(
// CHECK-COUNT-5: llvm.nvvm.shfl.sync.bfly.i32
// CHECK-NOT: llvm.nvvm.barrier
// CHECK: else
tile.kernel @rows views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [4, 128] strides = [128]>,
    #tile.view<"y" : f32, write, slot = 4 extents = [4]>]
    scalars [] slots 6 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<8x512xbf16>
  %wide = tile.cast %x : tensor<8x512xbf16> -> tensor<8x512xf32>
  %most = tile.reduce sum %wide axis 1 : tensor<8x512xf32> -> tensor<8x1xf32>
  %line = tile.reshape %most : tensor<8x1xf32> -> tensor<8xf32>
  tile.store 1 [%at] within 0 [], %line : (tensor<i64>, tensor<8xf32>) -> ()
  tile.yield
}

// Integers of a warp are combined by one instruction.
// CHECK-LABEL: llvm.func @integers(
// CHECK: llvm.nvvm.redux.sync.add
// CHECK-NOT: llvm.nvvm.shfl
// CHECK: else
tile.kernel @integers views [
    #tile.view<"x" : i32, read, slot = 0 extents = [128]>,
    #tile.view<"y" : i32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<128xi32>
  %sum = tile.reduce sum %x axis 0 : tensor<128xi32> -> tensor<1xi32>
  tile.store 1 [%at] within 0 [], %sum : (tensor<i64>, tensor<1xi32>) -> ()
  tile.yield
}

// Numbers that are bf16 are clamped in pairs.
// CHECK-LABEL: llvm.func @clamped(
// CHECK: max.NaN.bf16x2
// CHECK: min.NaN.bf16x2
// CHECK: else
tile.kernel @clamped views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [128]>,
    #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %low = tile.constant 3240099840 : tensor<256xf32>
  %high = tile.constant 1092616192 : tensor<256xf32>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<256xbf16>
  %wide = tile.cast %x : tensor<256xbf16> -> tensor<256xf32>
  %above = tile.max %wide, %low : (tensor<256xf32>, tensor<256xf32>) -> tensor<256xf32>
  %clamped = tile.min %above, %high : (tensor<256xf32>, tensor<256xf32>) -> tensor<256xf32>
  tile.store 1 [%at] within 0 [], %clamped : (tensor<i64>, tensor<256xf32>) -> ()
  tile.yield
}
