// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// Sixteen bytes a thread where divisors and bases allow it, elements one by one otherwise; every
// access is under a predicate.
// CHECK-LABEL: llvm.func @wide(
// CHECK: scf.if
// CHECK: ld.global.nc.v4.b32
// CHECK: st.global.cs.v4.b32
// CHECK: else
// CHECK-NOT: v4.b32
// CHECK: ld.global.nc.b16
// CHECK: st.global.cs.b16
tile.kernel @wide views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [128]>,
    #tile.view<"y" : bf16, write, slot = 2 extents = [128] streamed = true>]
    scalars [] slots 4 {
  %id = tile.program_id 0 : tensor<i64>
  %step = tile.constant 1024 : tensor<i64>
  %at = tile.mul %id, %step : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<1024xbf16>
  tile.store 1 [%at] within 0 [], %x : (tensor<i64>, tensor<1024xbf16>) -> ()
  tile.yield
}

// An extent that promises nothing: one version, element by element.
// CHECK-LABEL: llvm.func @narrow(
// CHECK: scf.if {{.*}} -> (i64, i64, i64)
// CHECK-NOT: scf.if
// CHECK-NOT: v4.b32
// CHECK: ld.global.nc.b32
// CHECK: llvm.return
tile.kernel @narrow views [
    #tile.view<"x" : f32, read, slot = 0 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<256xf32>
  tile.store 1 [%at] within 0 [], %x : (tensor<i64>, tensor<256xf32>) -> ()
  tile.yield
}
