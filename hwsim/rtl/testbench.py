"""SystemVerilog testbenches that feed a design the words of a trace and compare its own.

Clocks and delays only, no classes or interfaces: Verilator 5 (--binary --timing) and event-driven
simulators take the same text. Run from the trace's folder, or define HWSIM_DIR.

Requantizer convention (module HWSIM_REQUANTIZE, default `requantize`), one result per clock after
HWSIM_LATENCY clock edges (default 0, combinational):

    module requantize #(
        parameter RULE = 0,             // rule_number of index.json
        parameter ACC_BITS = 32,
        parameter MULTIPLIER_BITS = 32, // signed: fraction bits and a sign
        parameter SHIFT_BITS = 6,
        parameter CODE_BITS = 8,
        parameter CODE_SIGNED = 1
    ) (
        input clk,
        input signed [ACC_BITS-1:0] acc,
        input signed [MULTIPLIER_BITS-1:0] multiplier,
        input signed [SHIFT_BITS-1:0] right_shift,
        input [CODE_BITS-1:0] zero_point, qmin, qmax,
        output [CODE_BITS-1:0] code
    );

Stream convention (module HWSIM_LAYER, default the layer's folder behind `layer_`): words in file
order, one a clock, each input as fast as it comes; outputs in file order whenever ready.

    module layer_0000_conv (
        input clk, input rst,
        input in0_valid, input [W-1:0] in0,   // in1_valid, in1 ... for further inputs
        output out0_valid, output [V-1:0] out0
    );
"""

from collections.abc import Sequence

from hwsim.rtl.layer import Layer, Port, Role, Stage

SHIFT_BITS = 6
_HEADER = """// {title}
`timescale 1ns / 1ps
`ifndef HWSIM_DIR
`define HWSIM_DIR "."
`endif
"""
_VERDICT = """
      if (mismatches == 0) $display("PASS {module}: %0d {what}", {count});
      else $display("FAIL {module}: %0d of %0d {what} differ", mismatches, {count});
      done = 1;
      if (STANDALONE) begin
        if (mismatches != 0) $fatal(1, "{module}: mismatches");
        $finish;
      end
"""


def stage_module(layer: Layer, stage: Stage) -> str:
    """Return the name of a requantizer's testbench."""
    return f"tb_{layer.folder}" + (f"_{stage.name}" if stage.name else "")


def stream_module(layer: Layer) -> str:
    """Return the name of a layer's stream testbench."""
    return f"tb_{layer.folder}_stream"


def stage_testbench(layer: Layer, stage: Stage) -> str:
    """Return the testbench of a requantizer with an integer multiplier."""
    module = stage_module(layer, stage)
    acc, code = layer.ports[stage.accumulator], layer.ports[stage.code]
    multiplier, shift = (layer.ports[name] for name in stage.factors)
    select = layer.ports[stage.select] if stage.select else None
    width = code.dtype.bits
    mask = (1 << width) - 1
    signed = int(getattr(code.dtype, "signed", True))
    memories = [("acc_words", acc), ("code_words", code)]
    memories += [("multiplier_words", multiplier), ("shift_words", shift)]
    row = f"i % {multiplier.words.size}"
    if select is not None:
        memories.append(("select_words", select))
        row = "select_words[i]"
    title = f"Requantizer of layer {layer.folder} ({layer.operator}), {stage.requant.name.lower()}."
    return (
        _HEADER.format(title=title)
        + f"""`ifndef HWSIM_REQUANTIZE
`define HWSIM_REQUANTIZE requantize
`endif
`ifndef HWSIM_LATENCY
`define HWSIM_LATENCY 0
`endif
module {module};
  parameter STANDALONE = 1;
  localparam WORDS = {acc.words.size};
{_memories(memories)}
  reg clk = 0;
  reg signed [{acc.dtype.bits - 1}:0] acc;
  reg signed [{multiplier.dtype.bits - 1}:0] multiplier;
  reg signed [{shift.dtype.bits - 1}:0] right_shift;
  wire [{width - 1}:0] code;
  integer i, row, checked, mismatches = 0;
  reg done = 0;

  `HWSIM_REQUANTIZE #(
    .RULE({int(stage.requant)}), .ACC_BITS({acc.dtype.bits}),
    .MULTIPLIER_BITS({multiplier.dtype.bits}), .SHIFT_BITS({shift.dtype.bits}),
    .CODE_BITS({width}), .CODE_SIGNED({signed})
  ) dut (
    .clk(clk), .acc(acc), .multiplier(multiplier), .right_shift(right_shift),
    .zero_point({_literal(stage.zero_point, width, mask)}),
    .qmin({_literal(stage.qmin, width, mask)}),
    .qmax({_literal(stage.qmax, width, mask)}), .code(code)
  );

  initial begin
{_reads(layer, memories)}
    for (i = 0; i < WORDS + `HWSIM_LATENCY; i = i + 1) begin
      if (i < WORDS) begin
        row = {row};
        acc = acc_words[i];
        multiplier = multiplier_words[row];
        right_shift = shift_words[row];
      end
      #2;
      checked = i - `HWSIM_LATENCY;
      if (checked >= 0 && code !== code_words[checked]) begin
        if (mismatches < 10)
          $display("{module}: line %0d: code must be %h, not %h",
                   checked + 1, code_words[checked], code);
        mismatches = mismatches + 1;
      end
      #3 clk = 1;
      #5 clk = 0;
    end
"""
        + _VERDICT.format(module=module, what="codes", count="WORDS")
        + "  end\nendmodule\n"
    )


def stream_testbench(layer: Layer) -> str:
    """Return the testbench of a whole layer: activations in, activations out."""
    module = stream_module(layer)
    inputs, outputs = layer.of_role(Role.INPUT), layer.of_role(Role.OUTPUT)
    memories = [(f"in{k}_words", port) for k, port in enumerate(inputs)]
    memories += [(f"out{k}_words", port) for k, port in enumerate(outputs)]
    ports, nets, drives, checks = [], [], [], []
    for k, port in enumerate(inputs):
        nets.append(f"  reg in{k}_valid = 0;\n  reg [{port.dtype.bits - 1}:0] in{k} = 0;\n")
        ports.append(f".in{k}_valid(in{k}_valid), .in{k}(in{k})")
        drives.append(
            f"      in{k}_valid = i < {port.words.size};\n"
            f"      if (i < {port.words.size}) in{k} = in{k}_words[i];\n"
        )
    for k, port in enumerate(outputs):
        nets.append(
            f"  wire out{k}_valid;\n  wire [{port.dtype.bits - 1}:0] out{k};\n"
            f"  integer out{k}_count = 0;\n"
        )
        ports.append(f".out{k}_valid(out{k}_valid), .out{k}(out{k})")
        checks.append(_stream_check(module, k, port))
    total = sum(port.words.size for port in outputs)
    counts = " + ".join(f"out{k}_count" for k in range(len(outputs)))
    longest = max((port.words.size for port in inputs), default=0)
    title = f"Layer {layer.folder} ({layer.operator}) as a stream."
    return (
        _HEADER.format(title=title)
        + f"""`ifndef HWSIM_LAYER
`define HWSIM_LAYER layer_{layer.folder}
`endif
`ifndef HWSIM_TIMEOUT
`define HWSIM_TIMEOUT 1000000
`endif
module {module};
  parameter STANDALONE = 1;
{_memories(memories)}
  reg clk = 0, rst = 1, done = 0;
{"".join(nets)}  integer i, idle = 0, mismatches = 0;

  `HWSIM_LAYER dut (.clk(clk), .rst(rst), {", ".join(ports)});

  initial begin
{_reads(layer, memories)}
    #5 clk = 1;
    #5 clk = 0;
    rst = 0;
    for (i = 0; ({counts} < {total} && idle < `HWSIM_TIMEOUT) || i < {longest}; i = i + 1) begin
{"".join(drives)}      #2;
      idle = idle + 1;
{"".join(checks)}      #3 clk = 1;
      #5 clk = 0;
    end
    if ({counts} != {total}) begin
      $display("{module}: words must be %0d, not %0d", {total}, {counts});
      mismatches = mismatches + 1;
    end
"""
        + _VERDICT.format(module=module, what="words", count=total)
        + "  end\nendmodule\n"
    )


def run_all(modules: Sequence[str]) -> str:
    """Return a top module that runs several testbenches and ends with one verdict."""
    instances = "".join(
        f"  {module} #(.STANDALONE(0)) u{k} ();\n" for k, module in enumerate(modules)
    )
    finished = " && ".join(f"u{k}.done" for k in range(len(modules))) or "1"
    total = " + ".join(f"u{k}.mismatches" for k in range(len(modules))) or "0"
    return f"""// Every requantizer of the trace, one verdict.
`timescale 1ns / 1ps
module run_all;
{instances}  integer mismatches;
  initial begin
    wait ({finished});
    mismatches = {total};
    if (mismatches == 0) $display("PASS run_all: {len(modules)} testbenches");
    else $fatal(1, "FAIL run_all: %0d mismatches", mismatches);
    $finish;
  end
endmodule
"""


def _memories(memories: Sequence[tuple[str, Port]]) -> str:
    return "".join(
        f"  reg [{port.dtype.bits - 1}:0] {name} [0:{port.words.size - 1}];\n"
        for name, port in memories
    )


def _reads(layer: Layer, memories: Sequence[tuple[str, Port]]) -> str:
    return "\n".join(
        f'    $readmemh({{`HWSIM_DIR, "/{layer.folder}/{port.name}.hex"}}, {name});'
        for name, port in memories
    )


def _stream_check(module: str, k: int, port: Port) -> str:
    """Return what compares one output; a word beyond the last is a mismatch too."""
    return f"""      if (out{k}_valid !== 0) begin
        idle = 0;
        if (out{k}_valid !== 1 || out{k}_count >= {port.words.size}
            || out{k} !== out{k}_words[out{k}_count]) begin
          if (mismatches < 10)
            $display("{module}: line %0d: out{k} must be %h, not %h",
                     out{k}_count + 1, out{k}_words[out{k}_count], out{k});
          mismatches = mismatches + 1;
        end
        out{k}_count = out{k}_count + 1;
      end
"""


def _literal(value: int, width: int, mask: int) -> str:
    return f"{width}'h{value & mask:x}"
