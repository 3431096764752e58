// RUN: tessera-opt --tile-mark-roots --lower-to-avx512 %s | FileCheck %s

// Nothing is known of the extents: the loop exists twice, and only one of the two has edges. In the
// other, stores to the streamed view need no test either, and what is read is asked for ahead.
// CHECK-LABEL: llvm.func @rows(
// CHECK: arith.divsi
// CHECK: arith.cmpi sle
// CHECK: llvm.ptrtoint
// CHECK: scf.if
// CHECK: scf.for
// CHECK-NOT: scf.if
// CHECK-NOT: copy_rows
// CHECK: llvm.intr.prefetch
// CHECK: llvm.store {{.*}} {alignment = 64 : i64, nontemporal} : vector<32xf32>
// CHECK: else
// CHECK: scf.for
// CHECK: llvm.call @copy_rows
// CHECK: llvm.call_intrinsic "llvm.x86.sse.sfence"
tile.kernel @rows views [
    #tile.view<"x" : f32, read, slot = 0 extents = [1, 1] strides = [1]>,
    #tile.view<"y" : f32, write, slot = 4 extents = [1, 1] strides = [1] streamed = true>]
    scalars [] slots 8 {
  %row = tile.program_id 0 : tensor<i64>
  %zero = tile.constant 0 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %end = tile.extent 0, 1 : tensor<i64>
  tile.for %zero to %end step %step : (tensor<i64>, tensor<i64>, tensor<i64>) -> () {
  ^bb0(%i: tensor<i64>):
    %x = tile.load 0 [%row, %i] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64xf32>
    %n = tile.neg %x : tensor<64xf32> -> tensor<64xf32>
    tile.store 1 [%row, %i] within 0 [], %n : (tensor<i64>, tensor<i64>, tensor<64xf32>) -> ()
    tile.yield
  }
  tile.yield
}

// An offset that is read from memory in the loop is not known before it.
// CHECK-LABEL: llvm.func @picked(
// CHECK: scf.for
// CHECK: arith.cmpi sge
// CHECK: llvm.call @copy_rows
tile.kernel @picked views [
    #tile.view<"ids" : i64, read, slot = 0 extents = [1]>,
    #tile.view<"x" : f32, read, slot = 2 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 4 extents = [1]>]
    scalars [] slots 6 {
  %zero = tile.constant 0 : tensor<i64>
  %step = tile.constant 16 : tensor<i64>
  %end = tile.extent 2, 0 : tensor<i64>
  tile.for %zero to %end step %step : (tensor<i64>, tensor<i64>, tensor<i64>) -> () {
  ^bb0(%i: tensor<i64>):
    %id = tile.load 0 [%i] within 0 [] fill 0 : (tensor<i64>) -> tensor<i64>
    %x = tile.load 1 [%id] within 0 [] fill 0 : (tensor<i64>) -> tensor<16xf32>
    tile.store 2 [%i] within 0 [], %x : (tensor<i64>, tensor<16xf32>) -> ()
    tile.yield
  }
  tile.yield
}
