/* verilator lint_off WIDTH */
// Accumulator to code under every fixed-point rule of hwsim.profile.Requant; combinational.
// The port convention is that of the generated testbenches (hwsim/rtl/testbench.py).
module requantize #(
    parameter RULE = 0,
    parameter ACC_BITS = 32,
    parameter MULTIPLIER_BITS = 32,
    parameter SHIFT_BITS = 6,
    parameter CODE_BITS = 8,
    parameter CODE_SIGNED = 1
) (
    input clk,
    input signed [ACC_BITS-1:0] acc,
    input signed [MULTIPLIER_BITS-1:0] multiplier,
    input signed [SHIFT_BITS-1:0] right_shift,
    input [CODE_BITS-1:0] zero_point,
    input [CODE_BITS-1:0] qmin,
    input [CODE_BITS-1:0] qmax,
    output [CODE_BITS-1:0] code
);
  localparam FRACTION = MULTIPLIER_BITS - 1;
  localparam DOUBLE = RULE == 0 || RULE == 9;
  localparam LEFT = FRACTION < 30 ? 30 - FRACTION : 0;
  localparam WIDE = ACC_BITS + MULTIPLIER_BITS + LEFT + 1;

  wire signed [WIDE-1:0] dividend;
  wire signed [SHIFT_BITS:0] shift;
  generate
    if (DOUBLE) begin : twice
      // SRDHM: ties of the first rounding go up, whatever the sign; only the top saturates.
      wire [SHIFT_BITS-1:0] left = right_shift[SHIFT_BITS-1] ? -right_shift : 0;
      wire signed [31:0] shifted = acc << left;
      wire signed [64:0] product = shifted * multiplier + 65'sd1073741824;
      wire signed [33:0] high = product >>> 31;
      assign dividend = high > 34'sd2147483647 ? 34'sd2147483647 : high;
      assign shift = right_shift[SHIFT_BITS-1] ? 0 : right_shift;
    end else begin : once
      assign dividend = acc * multiplier;
      assign shift = right_shift + $signed(FRACTION);
    end
  endgenerate

  wire signed [WIDE-1:0] scaled;
  divide_by_power #(
      .RULE(RULE), .WIDE(WIDE), .SHIFT_BITS(SHIFT_BITS + 1)
  ) rounding (
      .dividend(dividend), .shift(shift), .quotient(scaled)
  );

  wire signed [CODE_BITS:0] zero_wide, low, high_end;
  assign zero_wide = {CODE_SIGNED ? zero_point[CODE_BITS-1] : 1'b0, zero_point};
  assign low = {CODE_SIGNED ? qmin[CODE_BITS-1] : 1'b0, qmin};
  assign high_end = {CODE_SIGNED ? qmax[CODE_BITS-1] : 1'b0, qmax};
  wire signed [WIDE:0] moved = scaled + zero_wide;
  assign code = moved < low ? qmin : moved > high_end ? qmax : moved[CODE_BITS-1:0];
endmodule

// dividend / 2**shift, rounded; a negative shift goes left.
module divide_by_power #(
    parameter RULE = 4,
    parameter WIDE = 64,
    parameter SHIFT_BITS = 7
) (
    input signed [WIDE-1:0] dividend,
    input signed [SHIFT_BITS-1:0] shift,
    output signed [WIDE-1:0] quotient
);
  wire left = shift[SHIFT_BITS-1];
  wire [SHIFT_BITS-1:0] places = left ? -shift : shift;
  wire negative = dividend[WIDE-1];
  wire signed [WIDE-1:0] whole = dividend >>> places;
  wire [WIDE-1:0] one = 1;
  wire [WIDE-1:0] lost = dividend & ((one << places) - 1);
  wire [WIDE-1:0] half = (one << places) >> 1;
  wire above = lost > half;
  wire tie = lost == half && places != 0;
  wire up;
  generate
    if (RULE == 4 || RULE == 9) assign up = above || tie;
    else if (RULE == 0 || RULE == 5) assign up = above || (tie && !negative);
    else if (RULE == 1) assign up = above || (tie && whole[0]);
    else if (RULE == 7) assign up = negative && lost != 0;
    else assign up = 0;
  endgenerate
  assign quotient = left ? dividend <<< places : whole + $signed({1'b0, up});
endmodule
