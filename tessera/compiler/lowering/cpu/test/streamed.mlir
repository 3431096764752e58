// RUN: tessera-opt --tile-mark-roots --lower-to-avx512 %s | FileCheck %s

// Stores to a streamed view bypass the caches where they are aligned, and a fence ends the function.
// CHECK-LABEL: llvm.func @streamed(
// CHECK: llvm.ptrtoint
// CHECK: scf.if
// CHECK: llvm.store {{.*}} {alignment = 64 : i64, nontemporal} : vector<32xf32>
// CHECK: else
// CHECK: llvm.store {{.*}} {alignment = 4 : i64} : vector<32xf32>
// CHECK: llvm.call_intrinsic "llvm.x86.sse.sfence"
// CHECK-NEXT: llvm.return
tile.kernel @streamed views [
    #tile.view<"x" : f32, read, slot = 0 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 2 extents = [1] streamed = true>]
    scalars [] slots 4 {
  %id = tile.program_id 0 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %at = tile.mul %id, %step : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<64xf32>
  tile.store 1 [%at] within 0 [], %x : (tensor<i64>, tensor<64xf32>) -> ()
  tile.yield
}
