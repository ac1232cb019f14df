/* verilator lint_off WIDTH */
// Fixed-point exponential, reciprocal and softmax of gemmlowp and TensorFlow Lite.

// round(a * b / 2**31), ties up; only INT_MIN * INT_MIN saturates.
module doubling_high_multiply (
    input signed [31:0] a,
    input signed [31:0] b,
    output signed [31:0] y
);
  wire signed [64:0] product = a * b + 65'sd1073741824;
  wire signed [33:0] high = product >>> 31;
  assign y = high > 34'sd2147483647 ? 32'sd2147483647 : high[31:0];
endmodule

// x / 2**PLACES, ties away from zero.
module rounding_shift #(
    parameter PLACES = 1
) (
    input signed [31:0] x,
    output signed [31:0] y
);
  wire signed [63:0] quotient;
  divide_by_power #(
      .RULE(5), .WIDE(64), .SHIFT_BITS(7)
  ) divide (
      .dividend({{32{x[31]}}, x}), .shift(7'd0 + PLACES), .quotient(quotient)
  );
  assign y = quotient[31:0];
endmodule

// exp(a), Q5.26 to Q0.31, a <= 0.
module exp_on_negative #(
    parameter signed [31:0] THIRD = 32'sd715827883
) (
    input signed [31:0] a,
    output signed [31:0] y
);
  localparam signed [31:0] EXP_MINUS_EIGHTH = 32'sd1895147668;
  // exp(-2**k) for k = -2 ... 4, the first in the lowest bits.
  localparam [7*32-1:0] FACTORS = {
    32'd242, 32'd720401, 32'd39332535, 32'd290630308, 32'd790015084, 32'd1302514674, 32'd1672461947
  };
  wire signed [31:0] fraction = $signed({8'd0, a[23:0]}) - 32'sd16777216;
  wire signed [31:0] remainder = fraction - a;
  wire signed [31:0] x = (fraction <<< 5) + 32'sd268435456;
  wire signed [31:0] x2, x3, x4, x4_quarter, cubic, tail, poly;
  doubling_high_multiply m2 (.a(x), .b(x), .y(x2));
  doubling_high_multiply m3 (.a(x2), .b(x), .y(x3));
  doubling_high_multiply m4 (.a(x2), .b(x2), .y(x4));
  rounding_shift #(.PLACES(2)) s4 (.x(x4), .y(x4_quarter));
  doubling_high_multiply mt (.a(x4_quarter + x3), .b(THIRD), .y(cubic));
  rounding_shift #(.PLACES(1)) st (.x(cubic + x2), .y(tail));
  doubling_high_multiply mp (.a(EXP_MINUS_EIGHTH), .b(x + tail), .y(poly));

  wire signed [31:0] product [0:7];
  assign product[0] = EXP_MINUS_EIGHTH + poly;
  genvar k;
  generate
    for (k = 0; k < 7; k = k + 1) begin : power
      wire signed [31:0] scaled;
      doubling_high_multiply m (.a(product[k]), .b(FACTORS[32*k+:32]), .y(scaled));
      assign product[k+1] = remainder[24+k] ? scaled : product[k];
    end
  endgenerate
  assign y = a == 0 ? 32'sd2147483647 : product[7];
endmodule

// 1 / (1 + x), Q0.31 to Q0.31, by STEPS Newton steps.
module reciprocal #(
    parameter STEPS = 3
) (
    input signed [31:0] a,
    output signed [31:0] y
);
  wire signed [33:0] total = a + 34'sd2147483647;
  // (total +- 1) / 2 in C: toward zero.
  wire signed [33:0] nudged = total[33] ? total - 34'sd1 : total + 34'sd1;
  wire signed [33:0] halved = (nudged + $signed({33'd0, nudged[33]})) >>> 1;
  wire signed [31:0] half = halved[31:0];
  wire signed [31:0] start;
  doubling_high_multiply first (.a(half), .b(-32'sd1010580540), .y(start));
  wire signed [31:0] x [0:STEPS];
  assign x[0] = 32'sd1515870810 + start;
  genvar k;
  generate
    for (k = 0; k < STEPS; k = k + 1) begin : newton
      wire signed [31:0] near_one, step;
      doubling_high_multiply m1 (.a(half), .b(x[k]), .y(near_one));
      doubling_high_multiply m2 (.a(x[k]), .b(32'sd536870912 - near_one), .y(step));
      wire signed [31:0] stepped;
      shifted_saturate #(.PLACES(2)) sat (.x(step), .y(stepped));
      assign x[k+1] = x[k] + stepped;
    end
  endgenerate
  shifted_saturate #(.PLACES(1)) sat (.x(x[STEPS]), .y(y));
endmodule

// x * 2**PLACES, saturated to 32 bits.
module shifted_saturate #(
    parameter PLACES = 1
) (
    input signed [31:0] x,
    output signed [31:0] y
);
  wire signed [39:0] wide = {{8{x[31]}}, x} << PLACES;
  assign y = wide > 40'sd2147483647 ? 32'sd2147483647
           : wide < -40'sd2147483648 ? -32'sd2147483648 : wide[31:0];
endmodule

// Softmax of rows of int8 codes of any length below 4096: scale 1/256, zero point -128.
//
// A row comes three times, a code a clock: phase 0 finds the largest, phase 1 adds exponentials,
// phase 2 answers with a probability a clock. `first` marks the first code of a phase.
module softmax_unit #(
    parameter STEPS = 3
) (
    input clk,
    input [1:0] phase,
    input first,
    input signed [7:0] x,
    input signed [31:0] multiplier,
    input [4:0] left_shift,
    input signed [31:0] smallest,
    output reg [7:0] y
);
  reg signed [7:0] largest;
  reg [31:0] total;  // Q12.19

  wire signed [31:0] difference = x - largest;
  wire near = difference >= smallest;
  wire signed [31:0] scaled, exponential, term;
  doubling_high_multiply scaling (.a(difference <<< left_shift), .b(multiplier), .y(scaled));
  exp_on_negative exponent (.a(near ? scaled : 32'sd0), .y(exponential));
  rounding_shift #(.PLACES(12)) to_sum (.x(exponential), .y(term));

  integer i;
  reg [5:0] zeros;
  reg found;
  always @* begin
    zeros = 0;
    found = 0;
    for (i = 31; i >= 0; i = i - 1) begin
      if (total[i]) found = 1;
      if (!found) zeros = zeros + 1;
    end
  end
  wire signed [31:0] inverse, product;
  reciprocal #(.STEPS(STEPS)) one_over (.a((total << zeros) ^ 32'h80000000), .y(inverse));
  doubling_high_multiply normalize (.a(inverse), .b(exponential), .y(product));
  wire signed [6:0] places = 7'sd35 - $signed({1'b0, zeros});  // 12 + 31 - 8 - zeros
  wire signed [63:0] quotient;
  divide_by_power #(
      .RULE(5), .WIDE(64), .SHIFT_BITS(7)
  ) divide (
      .dividend({{32{product[31]}}, product}), .shift(places), .quotient(quotient)
  );

  always @(posedge clk) begin
    if (phase == 0) largest <= first || x > largest ? x : largest;
    if (phase == 1) total <= (first ? 32'd0 : total) + (near ? term : 32'd0);
    y <= !near ? 8'h80 : quotient > 64'sd255 ? 8'h7f : quotient[7:0] ^ 8'h80;
  end
endmodule
