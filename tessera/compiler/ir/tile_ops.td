// SPDX-License-Identifier: Apache-2.0
// The tile dialect: one operation for each opcode of a trace (tessera/lang/opcode.h says what they
// mean), same operand order. Values are ranked tensors of rank 0 (scalars) to 3; ui8 and ui32 are u8
// and u32, other integers are signed. Nothing here knows a target.
#ifndef TESSERA_COMPILER_IR_TILE_OPS
#define TESSERA_COMPILER_IR_TILE_OPS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Tile_Dialect : Dialect {
  let name = "tile";
  let cppNamespace = "::tessera::compiler::tile";
  let useDefaultAttributePrinterParser = 1;
}

// ---- attributes ----

def Tile_Predicate : I64EnumAttr<"Predicate", "comparison", [
    I64EnumAttrCase<"eq", 0>, I64EnumAttrCase<"ne", 1>, I64EnumAttrCase<"lt", 2>,
    I64EnumAttrCase<"le", 3>, I64EnumAttrCase<"gt", 4>, I64EnumAttrCase<"ge", 5>]> {
  let cppNamespace = "::tessera::compiler::tile";
  let genSpecializedAttr = 0;
}
def Tile_PredicateAttr : EnumAttr<Tile_Dialect, Tile_Predicate, "predicate">;

def Tile_Reduction : I64EnumAttr<"Reduction", "what a reduction computes", [
    I64EnumAttrCase<"sum", 0>, I64EnumAttrCase<"max", 1>, I64EnumAttrCase<"min", 2>,
    I64EnumAttrCase<"argmax", 3>, I64EnumAttrCase<"argmin", 4>]> {
  let cppNamespace = "::tessera::compiler::tile";
  let genSpecializedAttr = 0;
}
def Tile_ReductionAttr : EnumAttr<Tile_Dialect, Tile_Reduction, "reduction">;

def Tile_Access : I64EnumAttr<"Access", "how a view may be used", [
    I64EnumAttrCase<"read", 0>, I64EnumAttrCase<"write", 1>, I64EnumAttrCase<"readwrite", 2>]> {
  let cppNamespace = "::tessera::compiler::tile";
  let genSpecializedAttr = 0;
}

def Tile_ViewAttr : AttrDef<Tile_Dialect, "View"> {
  let mnemonic = "view";
  let summary = "a tensor argument; divisors as in lang::ViewDecl, 0 = the number is 1";
  let parameters = (ins
    StringRefParameter<>:$name,
    "::mlir::Type":$type,
    EnumParameter<Tile_Access>:$access,
    "uint32_t":$slot,
    OptionalArrayRefParameter<"int64_t">:$extents,
    OptionalArrayRefParameter<"int64_t">:$strides,
    DefaultValuedParameter<"bool", "false">:$constant,
    DefaultValuedParameter<"bool", "false">:$streamed);
  let assemblyFormat = [{
    `<` $name `:` $type `,` $access `,` `slot` `=` $slot
    (`extents` `=` `[` $extents^ `]`)? (`strides` `=` `[` $strides^ `]`)?
    (`constant` `=` $constant^)? (`streamed` `=` $streamed^)? `>`
  }];
}

def Tile_ScalarAttr : AttrDef<Tile_Dialect, "Scalar"> {
  let mnemonic = "scalar";
  let summary = "a scalar argument";
  let parameters = (ins StringRefParameter<>:$name, "::mlir::Type":$type, "uint32_t":$slot,
                        DefaultValuedParameter<"int64_t", "1">:$divisor);
  let assemblyFormat = "`<` $name `:` $type `,` `slot` `=` $slot (`divisor` `=` $divisor^)? `>`";
}

// ---- operations ----

/// Types and attributes are checked by the rules of the tile language itself.
def Tile_ChecksTypes : NativeOpTrait<"ChecksTypes"> {
  let cppNamespace = "::tessera::compiler::tile";
}

class Tile_Op<string mnemonic, list<Trait> traits = []> : Op<Tile_Dialect, mnemonic, traits>;
class Tile_Node<string mnemonic, list<Trait> traits = []>
    : Tile_Op<mnemonic, traits # [Tile_ChecksTypes]>;

defvar Tile = AnyRankedTensor;

def Tile_KernelOp : Tile_Op<"kernel", [IsolatedFromAbove, Symbol, SingleBlock, NoRegionArguments]> {
  let summary = "a kernel: the work of one program instance";
  let arguments = (ins SymbolNameAttr:$sym_name, ArrayAttr:$views, ArrayAttr:$scalars,
                       I64Attr:$slots);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `views` $views `scalars` $scalars `slots` $slots attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ViewAttr view(int64_t index) { return ::llvm::cast<ViewAttr>(getViews()[index]); }
    ScalarAttr scalar(int64_t index) { return ::llvm::cast<ScalarAttr>(getScalars()[index]); }
  }];
}

def Tile_YieldOp : Tile_Op<"yield", [Pure, Terminator, ParentOneOf<["KernelOp", "ForOp", "IfOp"]>]> {
  let arguments = (ins Variadic<Tile>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
  let hasVerifier = 1;
}

// Program and arguments.
class Tile_Axis<string mnemonic> : Tile_Node<mnemonic, [Pure]> {
  let arguments = (ins I64Attr:$axis);
  let results = (outs Tile:$result);
  let assemblyFormat = "$axis attr-dict `:` type($result)";
}
def Tile_ProgramIdOp : Tile_Axis<"program_id">;
def Tile_NumProgramsOp : Tile_Axis<"num_programs">;
def Tile_IotaOp : Tile_Axis<"iota">;
def Tile_ExtentOp : Tile_Node<"extent", [Pure]> {
  let arguments = (ins I64Attr:$view, I64Attr:$dim);
  let results = (outs Tile:$result);
  let assemblyFormat = "$view `,` $dim attr-dict `:` type($result)";
}
def Tile_ScalarArgOp : Tile_Node<"scalar_arg", [Pure]> {
  let arguments = (ins I64Attr:$index);
  let results = (outs Tile:$result);
  let assemblyFormat = "$index attr-dict `:` type($result)";
}
def Tile_ConstantOp : Tile_Node<"constant", [Pure]> {
  let summary = "a splat; f32 bits of the value for floats, the value itself for integers";
  let arguments = (ins I64Attr:$value);
  let results = (outs Tile:$result);
  let assemblyFormat = "$value attr-dict `:` type($result)";
}

// Memory. `overrides` replace the extents whose bits are set in overridden.
class Tile_Memory<string mnemonic, list<Trait> traits = []>
    : Tile_Node<mnemonic, traits # [AttrSizedOperandSegments]>;
def Tile_LoadOp : Tile_Memory<"load", [MemoryEffects<[MemRead]>]> {
  let arguments = (ins I64Attr:$view, I64Attr:$overridden, I64Attr:$fill, Variadic<Tile>:$offsets,
                       Variadic<Tile>:$overrides);
  let results = (outs Tile:$result);
  let assemblyFormat = [{
    $view `[` $offsets `]` `within` $overridden `[` $overrides `]` `fill` $fill attr-dict
    `:` functional-type(operands, results)
  }];
}
def Tile_StoreOp : Tile_Memory<"store", [MemoryEffects<[MemWrite]>]> {
  let arguments = (ins I64Attr:$view, I64Attr:$overridden, Variadic<Tile>:$offsets,
                       Variadic<Tile>:$overrides, Tile:$tile, Optional<Tile>:$mask);
  let assemblyFormat = [{
    $view `[` $offsets `]` `within` $overridden `[` $overrides `]` `,` $tile (`where` $mask^)?
    attr-dict `:` functional-type(operands, results)
  }];
}
def Tile_GatherOp : Tile_Memory<"gather", [MemoryEffects<[MemRead]>]> {
  let arguments = (ins I64Attr:$view, I64Attr:$overridden, I64Attr:$fill, Variadic<Tile>:$offsets,
                       Variadic<Tile>:$overrides, Tile:$rows);
  let results = (outs Tile:$result);
  let assemblyFormat = [{
    $view `[` $offsets `]` `within` $overridden `[` $overrides `]` `fill` $fill `rows` $rows attr-dict
    `:` functional-type(operands, results)
  }];
}
class Tile_RowUpdate<string mnemonic, list<Trait> traits> : Tile_Memory<mnemonic, traits> {
  let arguments = (ins I64Attr:$view, I64Attr:$overridden, Variadic<Tile>:$offsets,
                       Variadic<Tile>:$overrides, Tile:$rows, Tile:$tile);
  let assemblyFormat = [{
    $view `[` $offsets `]` `within` $overridden `[` $overrides `]` `rows` $rows `,` $tile attr-dict
    `:` functional-type(operands, results)
  }];
}
def Tile_ScatterOp : Tile_RowUpdate<"scatter", [MemoryEffects<[MemWrite]>]>;
def Tile_AtomicAddOp : Tile_RowUpdate<"atomic_add", [MemoryEffects<[MemRead, MemWrite]>]>;

// Elementwise.
class Tile_Unary<string mnemonic> : Tile_Node<mnemonic, [Pure]> {
  let arguments = (ins Tile:$x);
  let results = (outs Tile:$result);
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($result)";
}
foreach name = ["Neg", "Abs", "Not", "Exp", "Exp2", "Log", "Log1p", "Sqrt", "Rsqrt", "Sigmoid", "Sin",
                "Cos"] in
  def Tile_#name#Op : Tile_Unary<!tolower(name)>;
def Tile_CastOp : Tile_Unary<"cast"> { let hasFolder = 1; }
def Tile_BitcastOp : Tile_Unary<"bitcast"> { let hasFolder = 1; }

class Tile_Binary<string mnemonic> : Tile_Node<mnemonic, [Pure]> {
  let arguments = (ins Tile:$a, Tile:$b);
  let results = (outs Tile:$result);
  let assemblyFormat = "$a `,` $b attr-dict `:` functional-type(operands, results)";
}
foreach name = ["Add", "Sub", "Mul", "Div", "Rem", "Min", "Max", "And", "Or", "Xor", "Shl", "Shr"] in
  def Tile_#name#Op : Tile_Binary<!tolower(name)>;
def Tile_CompareOp : Tile_Node<"compare", [Pure]> {
  let arguments = (ins Tile_PredicateAttr:$predicate, Tile:$a, Tile:$b);
  let results = (outs Tile:$result);
  let assemblyFormat = "$predicate $a `,` $b attr-dict `:` functional-type(operands, results)";
}
class Tile_Ternary<string mnemonic> : Tile_Node<mnemonic, [Pure]> {
  let arguments = (ins Tile:$a, Tile:$b, Tile:$c);
  let results = (outs Tile:$result);
  let assemblyFormat = "$a `,` $b `,` $c attr-dict `:` functional-type(operands, results)";
}
def Tile_SelectOp : Tile_Ternary<"select">;
def Tile_FmaOp : Tile_Ternary<"fma">;

// Shape.
def Tile_BroadcastOp : Tile_Unary<"broadcast"> { let hasFolder = 1; }
def Tile_ReshapeOp : Tile_Unary<"reshape"> { let hasFolder = 1; }
def Tile_TransposeOp : Tile_Node<"transpose", [Pure]> {
  let arguments = (ins DenseI64ArrayAttr:$permutation, Tile:$x);
  let results = (outs Tile:$result);
  let assemblyFormat = "$x $permutation attr-dict `:` type($x) `->` type($result)";
}
def Tile_SliceOp : Tile_Node<"slice", [Pure]> {
  let arguments = (ins I64Attr:$axis, I64Attr:$start, Tile:$x);
  let results = (outs Tile:$result);
  let assemblyFormat = "$x `axis` $axis `from` $start attr-dict `:` type($x) `->` type($result)";
  let hasFolder = 1;
}
def Tile_ConcatOp : Tile_Node<"concat", [Pure]> {
  let arguments = (ins I64Attr:$axis, Tile:$a, Tile:$b);
  let results = (outs Tile:$result);
  let assemblyFormat = "$a `,` $b `axis` $axis attr-dict `:` functional-type(operands, results)";
}
def Tile_SplitOp : Tile_Node<"split", [Pure]> {
  let arguments = (ins Tile:$x);
  let results = (outs Tile:$even, Tile:$odd);
  let assemblyFormat = "$x attr-dict `:` functional-type(operands, results)";
}
def Tile_JoinOp : Tile_Binary<"join">;

// Across elements.
def Tile_ReduceOp : Tile_Node<"reduce", [Pure]> {
  let arguments = (ins I64Attr:$axis, Tile_ReductionAttr:$kind, Tile:$x);
  let results = (outs Tile:$result);
  let assemblyFormat = "$kind $x `axis` $axis attr-dict `:` type($x) `->` type($result)";
}
def Tile_ScanOp : Tile_Node<"scan", [Pure]> {
  let arguments = (ins I64Attr:$axis, Tile:$x);
  let results = (outs Tile:$result);
  let assemblyFormat = "$x `axis` $axis attr-dict `:` type($x) `->` type($result)";
}
def Tile_TakeOp : Tile_Binary<"take">;
def Tile_HistogramOp : Tile_Node<"histogram", [Pure]> {
  let arguments = (ins I64Attr:$bins, Tile:$x, Optional<Tile>:$mask);
  let results = (outs Tile:$result);
  let assemblyFormat = [{
    $x (`where` $mask^)? `bins` $bins attr-dict `:` functional-type(operands, results)
  }];
}
def Tile_SortOp : Tile_Node<"sort", [Pure]> {
  let arguments = (ins I64Attr:$descending, Tile:$key, Tile:$value);
  let results = (outs Tile:$keys, Tile:$values);
  let assemblyFormat = [{
    $key `,` $value `descending` $descending attr-dict `:` functional-type(operands, results)
  }];
}
def Tile_LookupOp : Tile_Node<"lookup", [Pure]> {
  let arguments = (ins DenseI64ArrayAttr:$table, Tile:$code);
  let results = (outs Tile:$result);
  let assemblyFormat = "$code $table attr-dict `:` type($code) `->` type($result)";
}
def Tile_RandomBitsOp : Tile_Node<"random_bits", [Pure]> {
  let arguments = (ins Tile:$counter, Tile:$seed);
  let results = (outs Tile:$result);
  let assemblyFormat = "$counter `,` $seed attr-dict `:` functional-type(operands, results)";
}
def Tile_DotOp : Tile_Node<"dot", [Pure]> {
  let arguments = (ins I64Attr:$b_is_kn, Tile:$a, Tile:$b, Tile:$acc);
  let results = (outs Tile:$result);
  let assemblyFormat = [{
    $a `,` $b `,` $acc `kn` $b_is_kn attr-dict `:` functional-type(operands, results)
  }];
}
def Tile_DotScaledOp : Tile_Node<"dot_scaled", [Pure, AttrSizedOperandSegments]> {
  let arguments = (ins I64Attr:$has_a_scale, I64Attr:$has_b_scale, Tile:$a, Tile:$b, Tile:$acc,
                       Optional<Tile>:$a_scale, Optional<Tile>:$b_scale);
  let results = (outs Tile:$result);
  let assemblyFormat = [{
    $a `,` $b `,` $acc `scales` $has_a_scale $has_b_scale (`a` $a_scale^)? (`b` $b_scale^)? attr-dict
    `:` functional-type(operands, results)
  }];
}

// Control.
def Tile_ForOp : Tile_Op<"for", [RecursiveMemoryEffects, SingleBlock]> {
  let arguments = (ins Tile:$lo, Tile:$hi, Tile:$step, Variadic<Tile>:$inits);
  let results = (outs Variadic<Tile>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $lo `to` $hi `step` $step (`carry` $inits^)? attr-dict `:` functional-type(operands, results) $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::BlockArgument induction() { return getBody().getArgument(0); }
    ::mlir::OperandRange yielded() { return getBody().front().getTerminator()->getOperands(); }
  }];
}
def Tile_IfOp : Tile_Op<"if", [RecursiveMemoryEffects, SingleBlock, NoRegionArguments]> {
  let arguments = (ins Tile:$condition);
  let results = (outs Variadic<Tile>:$results);
  let regions = (region SizedRegion<1>:$then, SizedRegion<1>:$otherwise);
  let assemblyFormat = [{
    $condition attr-dict `:` functional-type(operands, results) $then `else` $otherwise
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::OperandRange thenYielded() { return getThen().front().getTerminator()->getOperands(); }
    ::mlir::OperandRange elseYielded() {
      return getOtherwise().front().getTerminator()->getOperands();
    }
  }];
}

#endif
