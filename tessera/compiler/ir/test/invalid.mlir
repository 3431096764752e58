// RUN: tessera-opt %s -split-input-file -verify-diagnostics

tile.kernel @shapes views [] scalars [] slots 0 {
  %a = tile.constant 0 : tensor<8xf32>
  %b = tile.constant 0 : tensor<16xf32>
  // expected-error @+1 {{f32[16] in an operation of shape [8]}}
  %c = tile.add %a, %b : (tensor<8xf32>, tensor<16xf32>) -> tensor<8xf32>
  tile.yield
}

// -----

tile.kernel @storage views [] scalars [] slots 0 {
  %a = tile.constant 0 : tensor<8xbf16>
  // expected-error @+1 {{bf16[8] is a storage type; cast to f32 first}}
  %b = tile.exp %a : tensor<8xbf16> -> tensor<8xbf16>
  tile.yield
}

// -----

tile.kernel @extent views [] scalars [] slots 0 {
  // expected-error @+1 {{power of two}}
  %a = tile.constant 0 : tensor<12xf32>
  tile.yield
}

// -----

tile.kernel @types views [] scalars [] slots 0 {
  // expected-error @+1 {{'tensor<8xi7>' is no type of the tile language}}
  %a = tile.constant 0 : tensor<8xi7>
  tile.yield
}

// -----

tile.kernel @view views [#tile.view<"x" : f32, read, slot = 0 extents = [1]>] scalars [] slots 2 {
  %at = tile.constant 0 : tensor<i64>
  %a = tile.constant 0 : tensor<8xf32>
  // expected-error @+1 {{view 'x' is read-only}}
  tile.store 0 [%at] within 0 [], %a : (tensor<i64>, tensor<8xf32>) -> ()
  tile.yield
}

// -----

// expected-error @+1 {{'x' ends behind the 1 slots}}
tile.kernel @slots views [#tile.view<"x" : f32, read, slot = 0 extents = [1]>] scalars [] slots 1 {
  tile.yield
}

// -----

tile.kernel @carried views [] scalars [] slots 0 {
  %at = tile.constant 0 : tensor<i64>
  %a = tile.constant 0 : tensor<8xf32>
  // expected-error @+1 {{carried values, parameters and results do not have the same types}}
  %r = tile.for %at to %at step %at carry %a : (tensor<i64>, tensor<i64>, tensor<i64>, tensor<8xf32>) -> tensor<8xf32> {
  ^bb0(%i: tensor<i64>):
    tile.yield %a : tensor<8xf32>
  }
  tile.yield
}

// -----

tile.kernel @condition views [] scalars [] slots 0 {
  %at = tile.constant 0 : tensor<i64>
  // expected-error @+1 {{has a condition that is not an i1 scalar}}
  tile.if %at : (tensor<i64>) -> () {
    tile.yield
  } else {
    tile.yield
  }
  tile.yield
}

// -----

tile.kernel @yields views [] scalars [] slots 0 {
  %at = tile.constant 0 : tensor<i64>
  // expected-error @+1 {{yields ('tensor<i64>') where () is expected}}
  tile.yield %at : tensor<i64>
}
