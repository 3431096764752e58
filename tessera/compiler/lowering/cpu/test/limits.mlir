// RUN: tessera-opt --tile-mark-roots --lower-to-avx2 -verify-diagnostics %s

// expected-error @+1 {{needs 4194308 bytes of scratch memory for one program; 4194304 are the limit: use smaller tiles}}
tile.kernel @large views [#tile.view<"y" : f32, write, slot = 0 extents = [1]>] scalars [] slots 2 {
  %at = tile.constant 0 : tensor<i64>
  %i = tile.iota 0 : tensor<1048576xi32>
  %f = tile.cast %i : tensor<1048576xi32> -> tensor<1048576xf32>
  %s = tile.scan %f axis 0 : tensor<1048576xf32> -> tensor<1048576xf32>
  %r = tile.reduce max %s axis 0 : tensor<1048576xf32> -> tensor<1xf32>
  %one = tile.reshape %r : tensor<1xf32> -> tensor<f32>
  tile.store 0 [%at] within 0 [], %one : (tensor<i64>, tensor<f32>) -> ()
  tile.yield
}
