// RUN: tessera-opt --lower-to-nvvm %s | FileCheck %s

// Two products a turn share the gathered rows: they lie in workgroup memory once, [N, K] for the
// first and [K, N] for the second. The rows of the next turn are copied to a second place
// meanwhile; the other operand of the first lies there from before the loop.
// CHECK-LABEL: llvm.func @attend(
// CHECK-SAME: nvvm.maxntid = array<i32: 256>
// CHECK-COUNT-16: cp.async.cg.shared.global
// CHECK: cp.async.commit_group
// CHECK: scf.if
// CHECK-COUNT-16: cp.async.cg.shared.global
// CHECK: cp.async.commit_group
// CHECK: scf.for
// CHECK: cp.async.wait_group 0
// CHECK: fence.proxy.async
// CHECK: llvm.nvvm.barrier.cta.sync.aligned.all
// CHECK-COUNT-16: cp.async.cg.shared.global
// CHECK: cp.async.commit_group
// CHECK-COUNT-2: ld.global.nc.b32
// CHECK: wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {{.*}}, a, b, add, 1, 1, 0, 0;
// CHECK-NOT: wgmma.wait_group
// CHECK: wgmma.wait_group.sync.aligned 0
// CHECK: st.shared.b32
// CHECK: fence.proxy.async
// CHECK: wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {{.*}}, a, b, add, 1, 1, 0, 1;
// CHECK: wgmma.wait_group.sync.aligned 0
// CHECK: scf.yield
tile.kernel @attend views [
    #tile.view<"q" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"kv" : bf16, read, slot = 4 extents = [1, 128] strides = [128]>,
    #tile.view<"indices" : i32, read, slot = 8 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 10 extents = [1, 128] strides = [128]>]
    scalars [] slots 14 {
  %zero = tile.constant 0 : tensor<i64>
  %count = tile.extent 2, 0 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %q = tile.load 0 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x512xbf16>
  %none = tile.constant 0 : tensor<64x512xf32>
  %rows = tile.for %zero to %count step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<64x512xf32>) -> tensor<64x512xf32> {
  ^bb0(%at: tensor<i64>, %sum: tensor<64x512xf32>):
    %index = tile.load 2 [%at] within 0 [] fill -1 : (tensor<i64>) -> tensor<64xi32>
    %key = tile.gather 1 [%zero, %zero] within 0 [] fill 0 rows %index : (tensor<i64>, tensor<i64>, tensor<64xi32>) -> tensor<64x512xbf16>
    %empty = tile.constant 0 : tensor<64x64xf32>
    %score = tile.dot %q, %key, %empty kn 0 : (tensor<64x512xbf16>, tensor<64x512xbf16>, tensor<64x64xf32>) -> tensor<64x64xf32>
    %p = tile.cast %score : tensor<64x64xf32> -> tensor<64x64xbf16>
    %next = tile.dot %p, %key, %sum kn 1 : (tensor<64x64xbf16>, tensor<64x512xbf16>, tensor<64x512xf32>) -> tensor<64x512xf32>
    tile.yield %next : tensor<64x512xf32>
  }
  tile.store 3 [%zero, %zero] within 0 [], %rows : (tensor<i64>, tensor<i64>, tensor<64x512xf32>) -> ()
  tile.yield
}

// Eight rows lie there eight times, for the instruction has 64. Tiles made in registers are stored
// from there.
// CHECK-LABEL: llvm.func @few_rows(
// CHECK-NOT: cp.async
// CHECK-COUNT-8: st.shared
// CHECK: wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16
tile.kernel @few_rows views [
    #tile.view<"a" : f32, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"b" : f32, read, slot = 4 extents = [1, 128] strides = [128]>,
    #tile.view<"y" : f32, write, slot = 8 extents = [1, 128] strides = [128]>]
    scalars [] slots 12 {
  %zero = tile.constant 0 : tensor<i64>
  %a = tile.load 0 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<8x16xf32>
  %b = tile.load 1 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<16x16xf32>
  %na = tile.cast %a : tensor<8x16xf32> -> tensor<8x16xbf16>
  %nb = tile.cast %b : tensor<16x16xf32> -> tensor<16x16xbf16>
  %none = tile.constant 0 : tensor<8x16xf32>
  %d = tile.dot %na, %nb, %none kn 0 : (tensor<8x16xbf16>, tensor<16x16xbf16>, tensor<8x16xf32>) -> tensor<8x16xf32>
  tile.store 2 [%zero, %zero] within 0 [], %d : (tensor<i64>, tensor<i64>, tensor<8x16xf32>) -> ()
  tile.yield
}

// What sums are going to be compared with is read while they are under way.
// CHECK-LABEL: llvm.func @softmax(
// CHECK: wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16
// CHECK-NOT: wgmma.wait_group
// CHECK: ld.global.nc
// CHECK: wgmma.wait_group.sync.aligned 0
// CHECK: llvm.nvvm.ex2.approx
// CHECK: wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16
tile.kernel @softmax views [
    #tile.view<"q" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"kv" : bf16, read, slot = 4 extents = [1, 128] strides = [128]>,
    #tile.view<"limits" : f32, read, slot = 8 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 10 extents = [1, 128] strides = [128]>]
    scalars [] slots 14 {
  %zero = tile.constant 0 : tensor<i64>
  %q = tile.load 0 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x512xbf16>
  %key = tile.load 1 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x512xbf16>
  %empty = tile.constant 0 : tensor<64x64xf32>
  %none = tile.constant 0 : tensor<64x512xf32>
  %dot = tile.dot %q, %key, %empty kn 0 : (tensor<64x512xbf16>, tensor<64x512xbf16>, tensor<64x64xf32>) -> tensor<64x64xf32>
  %limit = tile.load 2 [%zero] within 0 [] fill 0 : (tensor<i64>) -> tensor<64xf32>
  %row = tile.reshape %limit : tensor<64xf32> -> tensor<1x64xf32>
  %limits = tile.broadcast %row : tensor<1x64xf32> -> tensor<64x64xf32>
  %score = tile.min %dot, %limits : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
  %top = tile.reduce max %score axis 1 : tensor<64x64xf32> -> tensor<64x1xf32>
  %tops = tile.broadcast %top : tensor<64x1xf32> -> tensor<64x64xf32>
  %below = tile.sub %score, %tops : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
  %power = tile.exp2 %below : tensor<64x64xf32> -> tensor<64x64xf32>
  %p = tile.cast %power : tensor<64x64xf32> -> tensor<64x64xbf16>
  %rows = tile.dot %p, %key, %none kn 1 : (tensor<64x64xbf16>, tensor<64x512xbf16>, tensor<64x512xf32>) -> tensor<64x512xf32>
  tile.store 3 [%zero, %zero] within 0 [], %rows : (tensor<i64>, tensor<i64>, tensor<64x512xf32>) -> ()
  tile.yield
}

// Rounded sums times weights that are bf16, rounded again: two at once; their sums are products
// with ones. Sums of products that begin at zero need no zeros.
// CHECK-LABEL: llvm.func @rounded(
// CHECK: setp.ne.b32 first, 0, 0;{{.*}}wgmma.mma_async.sync.aligned.m64n{{.*}}, a, b, first, 1, 1, 0, 0;
// CHECK: wgmma.wait_group.sync.aligned 0
// CHECK: cvt.rn.relu.bf16x2.f32
// CHECK: fma.rn.bf16x2
// CHECK: llvm.nvvm.mma.m16n8k16.row.col.bf16
tile.kernel @rounded views [
    #tile.view<"k" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"q" : bf16, read, slot = 4 extents = [1, 128] strides = [128]>,
    #tile.view<"w" : bf16, read, slot = 8 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 10 extents = [1]>]
    scalars [] slots 12 {
  %zero = tile.constant 0 : tensor<i64>
  %key = tile.load 0 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x128xbf16>
  %q = tile.load 1 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x128xbf16>
  %w = tile.load 2 [%zero] within 0 [] fill 0 : (tensor<i64>) -> tensor<64xbf16>
  %wide = tile.cast %w : tensor<64xbf16> -> tensor<64xf32>
  %row = tile.reshape %wide : tensor<64xf32> -> tensor<1x64xf32>
  %weight = tile.broadcast %row : tensor<1x64xf32> -> tensor<64x64xf32>
  %empty = tile.constant 0 : tensor<64x64xf32>
  %dot = tile.dot %key, %q, %empty kn 0 : (tensor<64x128xbf16>, tensor<64x128xbf16>, tensor<64x64xf32>) -> tensor<64x64xf32>
  %narrow = tile.cast %dot : tensor<64x64xf32> -> tensor<64x64xbf16>
  %rounded = tile.cast %narrow : tensor<64x64xbf16> -> tensor<64x64xf32>
  %positive = tile.max %rounded, %empty : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
  %product = tile.mul %positive, %weight : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
  %again = tile.cast %product : tensor<64x64xf32> -> tensor<64x64xbf16>
  %term = tile.cast %again : tensor<64x64xbf16> -> tensor<64x64xf32>
  %column = tile.reduce sum %term axis 1 : tensor<64x64xf32> -> tensor<64x1xf32>
  %sum = tile.reshape %column : tensor<64x1xf32> -> tensor<64xf32>
  tile.store 3 [%zero] within 0 [], %sum : (tensor<i64>, tensor<64xf32>) -> ()
  tile.yield
}

// Codes of narrow numbers are copied one turn before they are decoded, each by the thread that
// decodes it, their scales read into registers, and the rows read two turns before: while the first
// product is under way. Slices of the decoded tile are read where it lies.
// Copies for a turn behind the last have ended before others have their memory.
// CHECK-LABEL: llvm.func @decoded(
// CHECK: ld.global.nc
// CHECK-COUNT-2: cp.async.cg.shared.global
// CHECK: cp.async.commit_group
// CHECK: scf.for
// CHECK-NOT: ld.global
// CHECK: cp.async.wait_group 0
// CHECK-NOT: ld.global
// CHECK-COUNT-2: ld.shared.v4
// CHECK: st.shared.v4
// CHECK: fence.proxy.async
// CHECK: wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16
// CHECK-NOT: wgmma.wait_group
// CHECK-COUNT-2: cp.async.cg.shared.global
// CHECK: ld.global.nc
// CHECK: wgmma.wait_group.sync.aligned 0
// CHECK: wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16
// CHECK: scf.yield
// CHECK-NEXT: }
// CHECK-NEXT: cp.async.wait_group 0
tile.kernel @decoded views [
    #tile.view<"p" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"codes" : f8E4M3FN, read, slot = 4 extents = [1, 128] strides = [128]>,
    #tile.view<"scales" : f8E8M0FNU, read, slot = 8 extents = [1, 1] strides = [1]>,
    #tile.view<"indices" : i32, read, slot = 12 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 14 extents = [1, 128] strides = [128]>]
    scalars [] slots 18 {
  %zero = tile.constant 0 : tensor<i64>
  %count = tile.extent 3, 0 : tensor<i64>
  %step = tile.constant 128 : tensor<i64>
  %p = tile.load 0 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x128xbf16>
  %none = tile.constant 0 : tensor<64x64xf32>
  %rows = tile.for %zero to %count step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<64x64xf32>) -> tensor<64x64xf32> {
  ^bb0(%at: tensor<i64>, %sum: tensor<64x64xf32>):
    %index = tile.load 3 [%at] within 0 [] fill -1 : (tensor<i64>) -> tensor<128xi32>
    %codes = tile.gather 1 [%zero, %zero] within 0 [] fill 0 rows %index : (tensor<i64>, tensor<i64>, tensor<128xi32>) -> tensor<128x64xf8E4M3FN>
    %scales = tile.gather 2 [%zero, %zero] within 0 [] fill 127 rows %index : (tensor<i64>, tensor<i64>, tensor<128xi32>) -> tensor<128x1xf8E8M0FNU>
    %wide = tile.cast %codes : tensor<128x64xf8E4M3FN> -> tensor<128x64xf32>
    %scale = tile.cast %scales : tensor<128x1xf8E8M0FNU> -> tensor<128x1xf32>
    %factor = tile.broadcast %scale : tensor<128x1xf32> -> tensor<128x64xf32>
    %scaled = tile.mul %wide, %factor : (tensor<128x64xf32>, tensor<128x64xf32>) -> tensor<128x64xf32>
    %key = tile.cast %scaled : tensor<128x64xf32> -> tensor<128x64xbf16>
    %p0 = tile.slice %p axis 1 from 0 : tensor<64x128xbf16> -> tensor<64x64xbf16>
    %p1 = tile.slice %p axis 1 from 64 : tensor<64x128xbf16> -> tensor<64x64xbf16>
    %key0 = tile.slice %key axis 0 from 0 : tensor<128x64xbf16> -> tensor<64x64xbf16>
    %key1 = tile.slice %key axis 0 from 64 : tensor<128x64xbf16> -> tensor<64x64xbf16>
    %half = tile.dot %p0, %key0, %sum kn 1 : (tensor<64x64xbf16>, tensor<64x64xbf16>, tensor<64x64xf32>) -> tensor<64x64xf32>
    %next = tile.dot %p1, %key1, %half kn 1 : (tensor<64x64xbf16>, tensor<64x64xbf16>, tensor<64x64xf32>) -> tensor<64x64xf32>
    tile.yield %next : tensor<64x64xf32>
  }
  tile.store 4 [%zero, %zero] within 0 [], %rows : (tensor<i64>, tensor<i64>, tensor<64x64xf32>) -> ()
  tile.yield
}

// Sums are waited for where they are needed: the second product runs while the first one's sums
// are worked on. What a reduction between warps writes meets neither product's operands.
// CHECK-LABEL: llvm.func @ahead(
// CHECK-SAME: nvvm.maxntid = array<i32: 256>
// CHECK: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// CHECK: wgmma.commit_group
// CHECK-NOT: wgmma.wait_group
// CHECK: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// CHECK: wgmma.commit_group
// CHECK: wgmma.wait_group.sync.aligned 1
// CHECK: llvm.nvvm.barrier.cta.sync.aligned.all
// CHECK: wgmma.wait_group.sync.aligned 0
tile.kernel @ahead views [
    #tile.view<"a" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"b" : bf16, read, slot = 4 extents = [1, 128] strides = [128]>,
    #tile.view<"y" : f32, write, slot = 8 extents = [1, 128] strides = [128]>]
    scalars [] slots 12 {
  %zero = tile.constant 0 : tensor<i64>
  %more = tile.constant 64 : tensor<i64>
  %a = tile.load 0 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x128xbf16>
  %c = tile.load 0 [%more, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x128xbf16>
  %b = tile.load 1 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x128xbf16>
  %none = tile.constant 0 : tensor<64x128xf32>
  %first = tile.dot %a, %b, %none kn 0 : (tensor<64x128xbf16>, tensor<128x128xbf16>, tensor<64x128xf32>) -> tensor<64x128xf32>
  %second = tile.dot %c, %b, %none kn 0 : (tensor<64x128xbf16>, tensor<128x128xbf16>, tensor<64x128xf32>) -> tensor<64x128xf32>
  %top = tile.reduce max %first axis 1 : tensor<64x128xf32> -> tensor<64x1xf32>
  tile.store 2 [%zero, %zero] within 0 [], %top : (tensor<i64>, tensor<i64>, tensor<64x1xf32>) -> ()
  %tops = tile.reduce max %second axis 1 : tensor<64x128xf32> -> tensor<64x1xf32>
  tile.store 2 [%more, %zero] within 0 [], %tops : (tensor<i64>, tensor<i64>, tensor<64x1xf32>) -> ()
  tile.yield
}
