// RUN: tessera-opt --lower-to-plain-spirv --split-input-file %s | FileCheck %s

// Two versions, of which a specialisation constant for the slot of each base (0, 2) leaves the driver one: eight bytes
// an access as one integer, or element by element. Slots come from a uniform buffer.
// CHECK-LABEL: spirv.module PhysicalStorageBuffer64 GLSL450
// CHECK-DAG: spirv.SpecConstant @aligned_0 spec_id(0) = true
// CHECK-DAG: spirv.SpecConstant @aligned_2 spec_id(2) = true
// CHECK-DAG: spirv.GlobalVariable @arguments bind(0, 0) : !spirv.ptr<!spirv.struct<(i64 [0], i64 [8], i64 [16], i64 [24]), Block>, Uniform>
// CHECK: spirv.Load "PhysicalStorageBuffer" {{.*}} ["Aligned", 8] : i64
// CHECK: spirv.Store "PhysicalStorageBuffer" {{.*}} ["Aligned", 8] : i64
// CHECK: spirv.Load "PhysicalStorageBuffer" {{.*}} ["Aligned", 2] : i16
tile.kernel @wide views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [128]>,
    #tile.view<"y" : bf16, write, slot = 2 extents = [128]>]
    scalars [] slots 4 {
  %id = tile.program_id 0 : tensor<i64>
  %step = tile.constant 512 : tensor<i64>
  %at = tile.mul %id, %step : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %x = tile.load 0 [%at] within 0 [] fill 0 : (tensor<i64>) -> tensor<512xbf16>
  tile.store 1 [%at] within 0 [], %x : (tensor<i64>, tensor<512xbf16>) -> ()
  tile.yield
}

// -----

// Eight rows of x, 32 of w: one group of eight lanes, four columns a lane, all eight rows of x from the neighbours. No
// workgroup memory, no barrier.
// CHECK-LABEL: spirv.module PhysicalStorageBuffer64 GLSL450
// CHECK-NOT: @workgroup_memory
// CHECK-NOT: spirv.ControlBarrier
// CHECK: spirv.Load "PhysicalStorageBuffer" {{.*}} ["Aligned", 8] : i64
// CHECK-COUNT-64: spirv.GroupNonUniformShuffle <Subgroup>
// CHECK-NOT: spirv.ControlBarrier
// CHECK: spirv.EntryPoint "GLCompute" @product
// CHECK: spirv.ExecutionMode @product "LocalSize", 8, 1, 1
tile.kernel @product views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"w" : bf16, read, slot = 4 extents = [128, 128] strides = [128]>,
    #tile.view<"y" : f32, write, slot = 8 extents = [1, 128] strides = [128]>]
    scalars [] slots 12 {
  %zero = tile.constant 0 : tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 8 : tensor<i64>
  %none = tile.constant 0 : tensor<8x32xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<8x32xf32>) -> tensor<8x32xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<8x32xf32>):
    %x = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<8x8xbf16>
    %w = tile.load 1 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<32x8xbf16>
    %d = tile.dot %x, %w, %acc kn 0 : (tensor<8x8xbf16>, tensor<32x8xbf16>, tensor<8x32xf32>) -> tensor<8x32xf32>
    tile.yield %d : tensor<8x32xf32>
  }
  tile.store 2 [%zero, %zero] within 0 [], %sum : (tensor<i64>, tensor<i64>, tensor<8x32xf32>) -> ()
  tile.yield
}
