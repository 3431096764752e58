# SPDX-License-Identifier: Apache-2.0
# Tests of the compiler in MLIR text: run by `ctest -L lit`, which passes the folders of programs.
import os

import lit.formats

config.name = "tessera"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = lit_config.params["out"]
config.environment["PATH"] = os.pathsep.join(
    [lit_config.params["bin"], lit_config.params["llvm"], config.environment["PATH"]])
