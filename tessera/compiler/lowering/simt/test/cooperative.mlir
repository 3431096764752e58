// RUN: tessera-opt --lower-to-spirv --split-input-file %s | FileCheck %s

// bf16 tiles: eight subgroups multiply 64 x 32 each, of every 16 of K four and two matrices. Both operands are read a
// turn ahead, 16 bytes a thread, and stored in rows of 20 words; there are two stages, so one barrier a turn. Sums pass
// through workgroup memory by 16 rows.
// CHECK-LABEL: spirv.module PhysicalStorageBuffer64 Vulkan requires #spirv.vce<v1.6
// CHECK-SAME: CooperativeMatrixKHR
// CHECK-SAME: BFloat16CooperativeMatrixKHR
// CHECK-SAME: VulkanMemoryModel
// CHECK: spirv.GlobalVariable @workgroup_memory : !spirv.ptr<!spirv.array<2560 x vector<4xi32>>, Workgroup>
// CHECK-COUNT-8: spirv.Variable : !spirv.ptr<!spirv.coopmatrix<16x16xf32, Subgroup, MatrixAcc>, Function>
// CHECK: spirv.Load "PhysicalStorageBuffer" {{.*}} ["Aligned", 16] : vector<4xi32>
// CHECK: spirv.mlir.loop
// CHECK: spirv.Store "Workgroup" {{.*}} ["NonPrivatePointer"] : vector<4xi32>
// CHECK: spirv.ControlBarrier <Workgroup>, <Workgroup>, <AcquireRelease|UniformMemory|WorkgroupMemory|MakeAvailable|MakeVisible>
// CHECK: spirv.Load "PhysicalStorageBuffer" {{.*}} ["Aligned", 16] : vector<4xi32>
// CHECK: spirv.KHR.CooperativeMatrixLoad {{.*}}, <RowMajor>, <Aligned|NonPrivatePointer>, 16 : {{.*}} -> !spirv.coopmatrix<16x16xbf16, Subgroup, MatrixA>
// CHECK: spirv.KHR.CooperativeMatrixLoad {{.*}}, <ColumnMajor>, <Aligned|NonPrivatePointer>, 16 : {{.*}} -> !spirv.coopmatrix<16x16xbf16, Subgroup, MatrixB>
// CHECK-COUNT-16: spirv.KHR.CooperativeMatrixMulAdd
// CHECK-NOT: spirv.KHR.CooperativeMatrixMulAdd
// CHECK-NOT: spirv.ControlBarrier
// CHECK: spirv.mlir.merge
// CHECK: spirv.ControlBarrier
// CHECK-COUNT-2: spirv.KHR.CooperativeMatrixStore {{.*}}, <RowMajor>, <Aligned|NonPrivatePointer>, 16
// CHECK: spirv.ControlBarrier
// CHECK: spirv.Load "Workgroup" {{.*}} ["NonPrivatePointer"]
tile.kernel @product views [
    #tile.view<"x" : bf16, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"w" : bf16, read, slot = 4 extents = [128, 128] strides = [128]>,
    #tile.view<"y" : bf16, write, slot = 8 extents = [1, 128] strides = [128]>]
    scalars [] slots 12 {
  %zero = tile.constant 0 : tensor<i64>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 32 : tensor<i64>
  %none = tile.constant 0 : tensor<128x128xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<128x128xf32>) -> tensor<128x128xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<128x128xf32>):
    %x = tile.load 0 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x32xbf16>
    %w = tile.load 1 [%zero, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<128x32xbf16>
    %d = tile.dot_scaled %x, %w, %acc scales 0 0 : (tensor<128x32xbf16>, tensor<128x32xbf16>, tensor<128x128xf32>) -> tensor<128x128xf32>
    tile.yield %d : tensor<128x128xf32>
  }
  %y = tile.cast %sum : tensor<128x128xf32> -> tensor<128x128xbf16>
  tile.store 2 [%zero, %zero] within 0 [], %y : (tensor<i64>, tensor<i64>, tensor<128x128xbf16>) -> ()
  tile.yield
}

// -----

// Gathered rows of e4m3 with FP4 weights: decoded, times their scales, to bf16 on the way to workgroup memory.
// CHECK-LABEL: spirv.module PhysicalStorageBuffer64 Vulkan
// CHECK: spirv.mlir.loop
// CHECK: spirv.FMul
// CHECK: spirv.BitwiseOr
// CHECK: spirv.Store "Workgroup"
// CHECK: spirv.KHR.CooperativeMatrixMulAdd {{.*}}xbf16, Subgroup, MatrixA>, {{.*}}xbf16, Subgroup, MatrixB> -> !spirv.coopmatrix<16x16xf32
tile.kernel @experts views [
    #tile.view<"a" : f8E4M3FN, read, slot = 0 extents = [1, 128] strides = [128]>,
    #tile.view<"as" : f8E8M0FNU, read, slot = 4 extents = [1, 1] strides = [1]>,
    #tile.view<"w" : f4E2M1FN, read, slot = 8 extents = [128, 128] strides = [128]>,
    #tile.view<"ws" : f8E8M0FNU, read, slot = 12 extents = [1, 1] strides = [1]>,
    #tile.view<"slots" : i32, read, slot = 16 extents = [1]>,
    #tile.view<"y" : bf16, readwrite, slot = 18 extents = [1, 128] strides = [128]>]
    scalars [] slots 22 {
  %zero = tile.constant 0 : tensor<i64>
  %columns = tile.constant 64 : tensor<i64>
  %id = tile.program_id 0 : tensor<i64>
  %n = tile.mul %id, %columns : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %pairs = tile.load 4 [%zero] within 0 [] fill -1 : (tensor<i64>) -> tensor<64xi32>
  %k = tile.extent 0, 1 : tensor<i64>
  %step = tile.constant 64 : tensor<i64>
  %group = tile.constant 128 : tensor<i64>
  %small = tile.constant 32 : tensor<i64>
  %none = tile.constant 0 : tensor<64x64xf32>
  %sum = tile.for %zero to %k step %step carry %none : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<64x64xf32>) -> tensor<64x64xf32> {
  ^bb0(%at: tensor<i64>, %acc: tensor<64x64xf32>):
    %a = tile.gather 0 [%zero, %at] within 0 [] fill 0 rows %pairs : (tensor<i64>, tensor<i64>, tensor<64xi32>) -> tensor<64x64xf8E4M3FN>
    %g = tile.div %at, %group : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %as = tile.gather 1 [%zero, %g] within 0 [] fill 1065353216 rows %pairs : (tensor<i64>, tensor<i64>, tensor<64xi32>) -> tensor<64x1xf8E8M0FNU>
    %w = tile.load 2 [%n, %at] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x64xf4E2M1FN>
    %h = tile.div %at, %small : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %ws = tile.load 3 [%n, %h] within 0 [] fill 1065353216 : (tensor<i64>, tensor<i64>) -> tensor<64x2xf8E8M0FNU>
    %d = tile.dot_scaled %a, %w, %acc scales 1 1 a %as b %ws : (tensor<64x64xf8E4M3FN>, tensor<64x64xf4E2M1FN>, tensor<64x64xf32>, tensor<64x1xf8E8M0FNU>, tensor<64x2xf8E8M0FNU>) -> tensor<64x64xf32>
    tile.yield %d : tensor<64x64xf32>
  }
  %y = tile.cast %sum : tensor<64x64xf32> -> tensor<64x64xbf16>
  tile.scatter 5 [%zero, %n] within 0 [] rows %pairs, %y : (tensor<i64>, tensor<i64>, tensor<64xi32>, tensor<64x64xbf16>) -> ()
  tile.yield
}

// -----

// Scores of gathered keys and their weighted sum: the keys are read for each product, queries likewise.
// The weights come from registers.
// CHECK-LABEL: spirv.module PhysicalStorageBuffer64 Vulkan
// CHECK: spirv.KHR.CooperativeMatrixLoad {{.*}}, <ColumnMajor>
// Before the next piece of K is stored all have read this one.
// CHECK-NOT: spirv.Store "Workgroup"
// CHECK: spirv.ControlBarrier
// CHECK: spirv.Store "Workgroup"
// CHECK: spirv.KHR.CooperativeMatrixStore
// CHECK: spirv.KHR.CooperativeMatrixLoad {{.*}}, <RowMajor>, {{.*}} MatrixB>
// CHECK: spirv.KHR.CooperativeMatrixStore
tile.kernel @attend views [
    #tile.view<"q" : bf16, read, slot = 0 extents = [1, 64] strides = [64]>,
    #tile.view<"kv" : bf16, read, slot = 4 extents = [1, 64] strides = [64]>,
    #tile.view<"rows" : i32, read, slot = 8 extents = [1]>,
    #tile.view<"y" : f32, write, slot = 10 extents = [1, 64] strides = [64]>]
    scalars [] slots 14 {
  %zero = tile.constant 0 : tensor<i64>
  %none = tile.constant 0 : tensor<64x64xf32>
  %empty = tile.constant 0 : tensor<64x512xf32>
  %q = tile.load 0 [%zero, %zero] within 0 [] fill 0 : (tensor<i64>, tensor<i64>) -> tensor<64x512xbf16>
  %rows = tile.load 2 [%zero] within 0 [] fill -1 : (tensor<i64>) -> tensor<64xi32>
  %kv = tile.gather 1 [%zero, %zero] within 0 [] fill 0 rows %rows : (tensor<i64>, tensor<i64>, tensor<64xi32>) -> tensor<64x512xbf16>
  %s = tile.dot %q, %kv, %none kn 0 : (tensor<64x512xbf16>, tensor<64x512xbf16>, tensor<64x64xf32>) -> tensor<64x64xf32>
  %p = tile.cast %s : tensor<64x64xf32> -> tensor<64x64xbf16>
  %o = tile.dot %p, %kv, %empty kn 1 : (tensor<64x64xbf16>, tensor<64x512xbf16>, tensor<64x512xf32>) -> tensor<64x512xf32>
  tile.store 3 [%zero, %zero] within 0 [], %o : (tensor<i64>, tensor<i64>, tensor<64x512xf32>) -> ()
  tile.yield
}
