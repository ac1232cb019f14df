/* verilator lint_off WIDTH */
// Restoring division, unrolled.
module divide #(
    parameter BITS = 32
) (
    input [BITS-1:0] numerator,
    input [BITS-1:0] denominator,
    output reg [BITS-1:0] quotient,
    output reg [BITS-1:0] rest
);
  integer i;
  reg [BITS:0] partial;
  always @* begin
    partial = 0;
    quotient = 0;
    for (i = BITS - 1; i >= 0; i = i - 1) begin
      partial = {partial[BITS-1:0], numerator[i]};
      if (partial >= {1'b0, denominator}) begin
        partial = partial - {1'b0, denominator};
        quotient[i] = 1;
      end
    end
    rest = partial[BITS-1:0];
  end
endmodule

// floor(sqrt(value)), digit by digit, exact.
module isqrt #(
    parameter BITS = 62  // even
) (
    input [BITS-1:0] value,
    output reg [BITS/2-1:0] root
);
  integer i;
  reg [BITS/2+1:0] rest, trial;
  always @* begin
    root = 0;
    rest = 0;
    for (i = BITS / 2 - 1; i >= 0; i = i - 1) begin
      rest = {rest[BITS/2-1:0], value[2*i+:2]};
      trial = {root, 2'b01};
      root = root << 1;
      if (rest >= trial) begin
        rest = rest - trial;
        root[0] = 1;
      end
    end
  end
endmodule

// LayerNorm of rows of int8 codes, `channels` long: exact sums, an exact integer square root, one
// division per channel.
//
// Phase 0 takes a row, a code a clock; phase 1 lasts ROOT_BITS clocks, a digit of the root each;
// phase 2 takes the row again with gamma and beta and answers a clock later.
module layer_norm_unit #(
    parameter FRACTION_BITS = 10,
    parameter RULE = 1,
    parameter NEAREST = 1,
    parameter ROOT_BITS = 20
) (
    input clk,
    input [1:0] phase,
    input first,
    input signed [7:0] x,
    input signed [7:0] gamma,
    input signed [31:0] beta,
    input [12:0] channels,
    input [39:0] epsilon,
    input signed [31:0] multiplier,
    input signed [5:0] right_shift,
    input [7:0] zero_point,
    output reg [7:0] y
);
  reg signed [20:0] total;
  reg [26:0] squares;
  reg [39:0] radicand;
  reg [ROOT_BITS-1:0] root;
  reg [ROOT_BITS+1:0] rest;

  wire signed [15:0] square = x * x;
  wire signed [41:0] total_squared = total * total;
  wire [39:0] variance = channels * {13'd0, squares} - total_squared[39:0] + epsilon;
  wire [39:0] digits = first ? variance : radicand;
  wire [ROOT_BITS-1:0] found = first ? 0 : root;
  wire [ROOT_BITS+1:0] brought = {first ? {ROOT_BITS{1'b0}} : rest[ROOT_BITS-1:0], digits[39:38]};
  wire [ROOT_BITS+1:0] trial = {found, 2'b01};
  wire fits = brought >= trial;

  wire [ROOT_BITS-1:0] spread = root == 0 ? 1 : root;
  wire signed [21:0] deviation = $signed({1'b0, channels}) * x - total;
  wire signed [35:0] offset = NEAREST ? $signed({1'b0, spread}) : 0;
  wire signed [35:0] numerator = (deviation <<< (FRACTION_BITS + 1)) + offset;
  wire [35:0] denominator = {spread, 1'b0};
  // floor(n / d) of a negative n is -ceil(-n / d).
  wire [35:0] magnitude = numerator[35] ? denominator - 36'd1 - numerator : numerator;
  wire [35:0] quotient, unused;
  divide #(.BITS(36)) division (
      .numerator(magnitude), .denominator(denominator), .quotient(quotient), .rest(unused)
  );
  wire signed [31:0] normalized = numerator[35] ? -quotient[31:0] : quotient[31:0];
  wire [7:0] code;
  requantize #(.RULE(RULE)) scaling (
      .clk(clk), .acc(normalized * gamma + beta), .multiplier(multiplier),
      .right_shift(right_shift), .zero_point(zero_point), .qmin(8'h80), .qmax(8'h7f), .code(code)
  );

  always @(posedge clk) begin
    if (phase == 0) begin
      total <= (first ? 21'sd0 : total) + x;
      squares <= (first ? 27'd0 : squares) + {11'd0, square};
    end
    if (phase == 1) begin
      radicand <= digits << 2;
      rest <= fits ? brought - trial : brought;
      root <= {found[ROOT_BITS-2:0], fits};
    end
    y <= code;
  end
endmodule
