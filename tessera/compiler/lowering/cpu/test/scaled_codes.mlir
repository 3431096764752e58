// RUN: tessera-opt --tile-mark-roots --lower-to-avx512fp16 %s | FileCheck %s

// bf16 numbers times a power of two whose exponent is bounded become e4m3 in their own 16 bits.
// CHECK-LABEL: llvm.func @bounded(
// CHECK: llvm.intr.usub.sat({{.*}} : (vector<32xi16>, vector<32xi16>)
// CHECK-NOT: vector<32xf32>
// CHECK: llvm.return
tile.kernel @bounded views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1]>, #tile.view<"e" : i32, read, slot = 2 extents = [1]>,
    #tile.view<"y" : f8E4M3FN, write, slot = 4 extents = [1]>]
    scalars [] slots 6 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<128xbf16>
  %wide = tile.cast %x : tensor<128xbf16> -> tensor<128xf32>
  %e = tile.load 1 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<1xi32>
  %least = tile.constant 1 : tensor<1xi32>
  %most = tile.constant 239 : tensor<1xi32>
  %low = tile.max %e, %least : (tensor<1xi32>, tensor<1xi32>) -> tensor<1xi32>
  %both = tile.min %low, %most : (tensor<1xi32>, tensor<1xi32>) -> tensor<1xi32>
  %place = tile.constant 23 : tensor<1xi32>
  %bits = tile.shl %both, %place : (tensor<1xi32>, tensor<1xi32>) -> tensor<1xi32>
  %scale = tile.bitcast %bits : tensor<1xi32> -> tensor<1xf32>
  %all = tile.broadcast %scale : tensor<1xf32> -> tensor<128xf32>
  %product = tile.mul %wide, %all : (tensor<128xf32>, tensor<128xf32>) -> tensor<128xf32>
  %codes = tile.cast %product : tensor<128xf32> -> tensor<128xf8E4M3FN>
  tile.store 2 [%at] within 0 [], %codes : (tensor<i64>, tensor<128xf8E4M3FN>) -> ()
  tile.yield
}

// An exponent of which nothing is known may be that of infinity.
// CHECK-LABEL: llvm.func @unbounded(
// CHECK-NOT: usub.sat
// CHECK: arith.mulf {{.*}} : vector<32xf32>
// CHECK: llvm.return
tile.kernel @unbounded views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1]>, #tile.view<"e" : i32, read, slot = 2 extents = [1]>,
    #tile.view<"y" : f8E4M3FN, write, slot = 4 extents = [1]>]
    scalars [] slots 6 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<128xbf16>
  %wide = tile.cast %x : tensor<128xbf16> -> tensor<128xf32>
  %e = tile.load 1 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<1xi32>
  %place = tile.constant 23 : tensor<1xi32>
  %bits = tile.shl %e, %place : (tensor<1xi32>, tensor<1xi32>) -> tensor<1xi32>
  %scale = tile.bitcast %bits : tensor<1xi32> -> tensor<1xf32>
  %all = tile.broadcast %scale : tensor<1xf32> -> tensor<128xf32>
  %product = tile.mul %wide, %all : (tensor<128xf32>, tensor<128xf32>) -> tensor<128xf32>
  %codes = tile.cast %product : tensor<128xf32> -> tensor<128xf8E4M3FN>
  tile.store 2 [%at] within 0 [], %codes : (tensor<i64>, tensor<128xf8E4M3FN>) -> ()
  tile.yield
}
