// RUN: tessera-opt --tile-mark-roots %s | FileCheck %s

// What has one consumer is evaluated there, however dear.
// CHECK-LABEL: @one_consumer
// CHECK-NOT: tile.root
tile.kernel @one_consumer views [
    #tile.view<"x" : f32, read, slot = 0 extents = [1]>, #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<64xf32>
  %e = tile.exp %x : tensor<64xf32> -> tensor<64xf32>
  %s = tile.add %e, %e : (tensor<64xf32>, tensor<64xf32>) -> tensor<64xf32>
  tile.store 1 [%at] within 0 [], %s : (tensor<i64>, tensor<64xf32>) -> ()
  tile.yield
}

// Reductions are stored, and so is what two consumers would compute twice; cheap things are not.
// CHECK-LABEL: @several_consumers
// CHECK: tile.load
// CHECK-NOT: tile.root
// CHECK: tile.add
// CHECK-NOT: tile.root
// CHECK: tile.exp {{.*}} {tile.root}
// CHECK: tile.reduce {{.*}} {tile.root}
// CHECK-NOT: tile.root
tile.kernel @several_consumers views [
    #tile.view<"x" : f32, read, slot = 0 extents = [1]>, #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<64xf32>
  %t = tile.add %x, %x : (tensor<64xf32>, tensor<64xf32>) -> tensor<64xf32>
  %e = tile.exp %t : tensor<64xf32> -> tensor<64xf32>
  %m = tile.reduce sum %e axis 0 : tensor<64xf32> -> tensor<1xf32>
  %b = tile.broadcast %m : tensor<1xf32> -> tensor<64xf32>
  %s = tile.mul %e, %b : (tensor<64xf32>, tensor<64xf32>) -> tensor<64xf32>
  tile.store 1 [%at] within 0 [], %s : (tensor<i64>, tensor<64xf32>) -> ()
  tile.yield
}

// A store in between would change what a late load sees; an elementwise update in place does not.
// CHECK-LABEL: @memory_order
// CHECK: tile.load 0[%{{.*}}] within 0[] fill 1 {tile.root}
// CHECK: tile.load 0[%{{.*}}] within 0[] fill 2 :
// CHECK: tile.load 0[%{{.*}}] within 0[] fill 3 {tile.root}
tile.kernel @memory_order views [#tile.view<"x" : f32, readwrite, slot = 0 extents = [1]>] scalars [] slots 2 {
  %at = tile.constant 0 : tensor<i64>
  %next = tile.constant 1 : tensor<i64>
  %a = tile.load 0 [%at] within 0 [] fill 1 : (tensor<i64>) -> tensor<64xf32>
  %b = tile.load 0 [%next] within 0 [] fill 2 : (tensor<i64>) -> tensor<64xf32>
  %n = tile.neg %b : tensor<64xf32> -> tensor<64xf32>
  tile.store 0 [%next] within 0 [], %n : (tensor<i64>, tensor<64xf32>) -> ()
  tile.store 0 [%at] within 0 [], %a : (tensor<i64>, tensor<64xf32>) -> ()
  %c = tile.load 0 [%at] within 0 [] fill 3 : (tensor<i64>) -> tensor<64xf32>
  tile.store 0 [%next] within 0 [], %c : (tensor<i64>, tensor<64xf32>) -> ()
  tile.yield
}

// Dear values stay out of loops they do not depend on.
// CHECK-LABEL: @loops
// CHECK: tile.sqrt {{.*}} {tile.root}
tile.kernel @loops views [
    #tile.view<"x" : f32, read, slot = 0 extents = [1]>, #tile.view<"y" : f32, write, slot = 2 extents = [1]>]
    scalars [] slots 4 {
  %at = tile.constant 0 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %end = tile.extent 1, 0 : tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<64xf32>
  %r = tile.sqrt %x : tensor<64xf32> -> tensor<64xf32>
  tile.for %at to %end step %step : (tensor<i64>, tensor<i64>, tensor<i64>) -> () {
  ^bb0(%i: tensor<i64>):
    tile.store 1 [%i] within 0 [], %r : (tensor<i64>, tensor<64xf32>) -> ()
    tile.yield
  }
  tile.yield
}
