// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// bf16 by f32: the threads that fill stages cut each f32 number into three of bf16, what is below it behind its upper
// half, and store each part as a panel of its own. Three products, the smallest first, begin a turn's sums at zero; they
// are added to the others in f32. Squares are taken from the same stage, before it is free; so each lane arrives at its barriers
// (256 threads multiply, 256 fill), not one a warp.
// CHECK-LABEL: llvm.func @mix(
// CHECK: %[[ALL:.+]] = arith.constant 256 : i32
// CHECK-NEXT: "mbarrier.init.shared::cta.b64 [$0], $1;", "r,r,~{memory}" %{{.+}}, %[[ALL]] :
// CHECK: scf.for
// CHECK: mbarrier.try_wait.parity
// CHECK: ld.shared.v4.b32
// CHECK: math.fma
// CHECK: bar.warp.sync
// CHECK: setp.ne.b32 first, 0, 0
// CHECK-SAME: wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {{.*}}a0, b0, first, 1, 1
// CHECK-SAME: a4, b4, add, 1, 1
// CHECK-SAME: a8, b8, add, 1, 1
// CHECK-NOT: a12,
// CHECK: {{"}}mbarrier.arrive.shared::cta.b64 _, [$0];"
// CHECK: arith.addf
// CHECK: scf.yield
// CHECK: cp.async.bulk.tensor.2d
// CHECK: arith.cmpf une
// CHECK: arith.addi
// CHECK: arith.subf
// CHECK: llvm.nvvm.prmt
// CHECK: st.shared.v4.b32
// CHECK: st.shared.v4.b32
// CHECK: st.shared.v4.b32
// CHECK: @tensor_maps(dense<[0, 2, 2, 128, 64]>
tile.kernel @mix views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"w" : f32, read, slot = 4 extents = [8, 128] strides = [128]>,
    #tile.view<"y" : f32, write, slot = 8 extents = [1, 8] strides = [8]>,
    #tile.view<"q" : f32, write, slot = 12 extents = [1]>]
    scalars [] slots 14 {
  %zero = tile.constant 0 : tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %none = tile.constant 0 : tensor<128x32xf32>
  %lanes = tile.constant 0 : tensor<128x64xf32>
  %sum, %squares = tile.for %zero to %k step %step carry %none, %lanes : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<128x32xf32>, tensor<128x64xf32>) -> (tensor<128x32xf32>, tensor<128x64xf32>) {
  ^bb0(%at: tensor<i64>, %acc: tensor<128x32xf32>, %q: tensor<128x64xf32>):
    %x = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x64xbf16>
    %v = tile.cast %x : tensor<128x64xbf16> -> tensor<128x64xf32>
    %w = tile.load 1 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<32x64xf32>
    %d = tile.dot %v, %w, %acc kn 0 : (tensor<128x64xf32>, tensor<32x64xf32>, tensor<128x32xf32>) -> tensor<128x32xf32>
    %s = tile.fma %v, %v, %q : (tensor<128x64xf32>, tensor<128x64xf32>, tensor<128x64xf32>) -> tensor<128x64xf32>
    tile.yield %d, %s : tensor<128x32xf32>, tensor<128x64xf32>
  }
  tile.store 2 [%zero, %zero] within 0 [], %sum : (tensor<i64>, tensor<i64>, tensor<128x32xf32>) -> ()
  %total = tile.reduce sum %squares axis 1 : tensor<128x64xf32> -> tensor<128x1xf32>
  %line = tile.reshape %total : tensor<128x1xf32> -> tensor<128xf32>
  tile.store 3 [%zero] within 0 [], %line : (tensor<i64>, tensor<128xf32>) -> ()
  tile.yield
}
