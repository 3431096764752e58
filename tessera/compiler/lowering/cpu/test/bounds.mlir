// RUN: tessera-opt --tile-mark-roots --lower-to-avx512 %s | FileCheck %s

// A loop that ends at the extent, in steps that divide it: no bounds at all.
// CHECK-LABEL: llvm.func @proven(
// CHECK: scf.for
// CHECK: scf.for
// CHECK-NOT: scf.if
// CHECK-NOT: copy_rows
// CHECK: llvm.load {{.*}} -> vector<16xf32>
// CHECK: llvm.store {{.*}} : vector<16xf32>
// CHECK: llvm.return
tile.kernel @proven views [
    #tile.view<"x" : f32, read, slot = 0 extents = [16]>, #tile.view<"y" : f32, write, slot = 2 extents = [16]>]
    scalars [] slots 4 {
  %zero = tile.constant 0 : tensor<i64>
  %step = tile.constant 16 : tensor<i64>
  %end = tile.extent 0, 0 : tensor<i64>
  tile.for %zero to %end step %step : (tensor<i64>, tensor<i64>, tensor<i64>) -> () {
  ^bb0(%i: tensor<i64>):
    %x = tile.load 0 [%i] within 0 [] fill 0 : (tensor<i64>) -> tensor<16xf32>
    %n = tile.neg %x : tensor<16xf32> -> tensor<16xf32>
    tile.store 1 [%i] within 1 [%end], %n : (tensor<i64>, tensor<i64>, tensor<16xf32>) -> ()
    tile.yield
  }
  tile.yield
}

// Otherwise the edge is copied, and the vector code reads from one of two places.
// CHECK-LABEL: llvm.func @edge(
// CHECK: %[[FULL:.*]] = arith.cmpi sle
// CHECK: scf.if
// CHECK: llvm.intr.memset
// CHECK: llvm.call @copy_rows
// CHECK: %[[FROM:.*]] = arith.select %[[FULL]], {{.*}} : !llvm.ptr
// CHECK: llvm.load %[[FROM]] {{.*}} -> vector<16xf32>
tile.kernel @edge views [
    #tile.view<"x" : f32, read, slot = 0 extents = [16]>, #tile.view<"y" : f32, write, slot = 2 extents = [16]>]
    scalars [] slots 4 {
  %id = tile.program_id 0 : tensor<i64>
  %step = tile.constant 16 : tensor<i64>
  %at = tile.mul %id, %step : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<16xf32>
  tile.store 1 [%at] within 0 [], %x : (tensor<i64>, tensor<16xf32>) -> ()
  tile.yield
}
