/* verilator lint_off WIDTH */
// Exponentials of code differences x <= 0.

// One entry per code, the smallest signed code first.
module exp_table #(
    parameter IN_BITS = 8,
    parameter OUT_BITS = 8,
    parameter [(1<<IN_BITS)*OUT_BITS-1:0] TABLE = 0
) (
    input [IN_BITS-1:0] x,
    output [OUT_BITS-1:0] y
);
  wire [IN_BITS-1:0] row = {~x[IN_BITS-1], x[IN_BITS-2:0]};
  assign y = TABLE[row*OUT_BITS+:OUT_BITS];
endmodule

// I-BERT: a quadratic on (-ln 2, 0], then a shift; ln2 = floor(ln 2 / s) rounded up, s the scale.
module exp_polynomial #(
    parameter SHIFT = 30
) (
    input signed [15:0] x,
    input [15:0] ln2,
    input [15:0] b,
    input [31:0] c,
    output [63:0] y
);
  wire [31:0] floor_x = SHIFT * ln2;
  wire [31:0] magnitude = -$signed({{16{x[15]}}, x});
  wire [31:0] limited = magnitude > floor_x ? floor_x : magnitude;
  wire [31:0] q, rest;
  divide #(.BITS(32)) division (.numerator(limited), .denominator({16'd0, ln2}), .quotient(q), .rest(rest));
  wire signed [33:0] r = -$signed({2'b0, rest});
  wire signed [67:0] square = r * (r + $signed({18'd0, b})) + $signed({36'd0, c});
  assign y = square[67] ? 64'd0 : square[63:0] << (SHIFT - q[5:0]);
endmodule

// I-ViT: x * log2(e) by shifts, a line on the fraction, then a shift; one = ceil(1 / s).
module exp_shift #(
    parameter SHIFT = 15
) (
    input signed [15:0] x,
    input [15:0] one,
    output [63:0] y
);
  wire signed [31:0] wide = {{16{x[15]}}, x};
  wire signed [31:0] base2 = wide + (wide >>> 1) - (wide >>> 4);
  wire [31:0] floor_x = SHIFT * one;
  wire [31:0] magnitude = -base2;
  wire [31:0] limited = magnitude > floor_x ? floor_x : magnitude;
  wire [31:0] q, rest;
  divide #(.BITS(32)) division (.numerator(limited), .denominator({16'd0, one}), .quotient(q), .rest(rest));
  // (r / 2 + one) * 2**(SHIFT - q), with r = -rest; one bit more, then the floor.
  wire [63:0] doubled = {47'd0, one, 1'b0} - {32'd0, rest};
  assign y = (doubled << (SHIFT - q[5:0])) >> 1;
endmodule

// Piecewise linear: clip((A * x + B + 2**(GUARD-1)) >> GUARD, L, U), the first segment whose
// smallest difference x reaches; 0 beyond the last. Segment 0 stands in the lowest bits.
module exp_linear #(
    parameter SEGMENTS = 4,
    parameter GUARD = 8,
    parameter ROUND = 1,
    parameter [32*SEGMENTS-1:0] FIRST = 0,
    parameter [32*SEGMENTS-1:0] A = 0,
    parameter [32*SEGMENTS-1:0] B = 0,
    parameter [32*SEGMENTS-1:0] L = 0,
    parameter [32*SEGMENTS-1:0] U = 0
) (
    input signed [15:0] x,
    output reg [31:0] y
);
  integer i;
  reg signed [63:0] line;
  reg done;
  always @* begin
    y = 0;
    done = 0;
    line = 0;
    for (i = 0; i < SEGMENTS; i = i + 1)
      if (!done && x >= $signed(FIRST[32*i+:32])) begin
        done = 1;
        line = $signed(A[32*i+:32]) * x + $signed(B[32*i+:32]);
        if (ROUND) line = line + (64'sd1 << (GUARD - 1));
        line = line >>> GUARD;
        if (line < $signed(L[32*i+:32])) y = L[32*i+:32];
        else if (line > $signed(U[32*i+:32])) y = U[32*i+:32];
        else y = line[31:0];
      end
  end
endmodule
