// RUN: tessera-opt --tile-mark-roots --lower-to-avx512 %s | FileCheck %s

// What a loop updates in place comes from memory: it is asked for ahead.
// CHECK-LABEL: llvm.func @in_place(
// CHECK: llvm.intr.prefetch
tile.kernel @in_place views [
    #tile.view<"x" : f32, readwrite, slot = 0 extents = [1, 1] strides = [1]>]
    scalars [] slots 4 {
  %row = tile.program_id 0 : tensor<i64>
  %zero = tile.constant 0 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %end = tile.extent 0, 1 : tensor<i64>
  tile.for %zero to %end step %step : (tensor<i64>, tensor<i64>, tensor<i64>) -> () {
  ^bb0(%i: tensor<i64>):
    %x = tile.load 0 [%row, %i] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64xf32>
    %n = tile.neg %x : tensor<64xf32> -> tensor<64xf32>
    tile.store 0 [%row, %i] within 0 [], %n : (tensor<i64>, tensor<i64>, tensor<64xf32>) -> ()
    tile.yield
  }
  tile.yield
}

// Where memory names the row, what lies behind it is not what comes next.
// CHECK-LABEL: llvm.func @picked_rows(
// CHECK-NOT: llvm.intr.prefetch
// CHECK: llvm.return
tile.kernel @picked_rows views [
    #tile.view<"ids" : i64, read, slot = 0 extents = [1]>,
    #tile.view<"x" : f32, read, slot = 2 extents = [1, 1] strides = [1]>,
    #tile.view<"y" : f32, write, slot = 6 extents = [1, 1] strides = [1] streamed = true>]
    scalars [] slots 10 {
  %row = tile.program_id 0 : tensor<i64>
  %id = tile.load 0 [%row] within 0 [] fill 0 : (tensor<i64>) -> tensor<i64>
  %zero = tile.constant 0 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %end = tile.extent 1, 1 : tensor<i64>
  tile.for %zero to %end step %step : (tensor<i64>, tensor<i64>, tensor<i64>) -> () {
  ^bb0(%i: tensor<i64>):
    %x = tile.load 1 [%id, %i] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64xf32>
    tile.store 2 [%row, %i] within 0 [], %x : (tensor<i64>, tensor<i64>, tensor<64xf32>) -> ()
    tile.yield
  }
  tile.yield
}
