/* verilator lint_off WIDTH */
// acc <= (clear ? bias : acc) + (x - zero) * w, with codes signed or unsigned.
module mac #(
    parameter X_BITS = 8,
    parameter X_SIGNED = 1,
    parameter W_BITS = 8,
    parameter W_SIGNED = 1,
    parameter ACC_BITS = 32
) (
    input clk,
    input clear,
    input signed [ACC_BITS-1:0] bias,
    input [X_BITS-1:0] x,
    input [X_BITS-1:0] zero,
    input [W_BITS-1:0] w,
    output reg signed [ACC_BITS-1:0] acc
);
  wire signed [X_BITS:0] x_wide, zero_wide;
  wire signed [W_BITS:0] w_wide;
  assign x_wide = {X_SIGNED ? x[X_BITS-1] : 1'b0, x};
  assign zero_wide = {X_SIGNED ? zero[X_BITS-1] : 1'b0, zero};
  assign w_wide = {W_SIGNED ? w[W_BITS-1] : 1'b0, w};
  wire signed [X_BITS+1:0] centered = x_wide - zero_wide;
  wire signed [X_BITS+W_BITS+2:0] product = centered * w_wide;
  wire signed [ACC_BITS-1:0] base = clear ? bias : acc;
  always @(posedge clk) acc <= base + product;
endmodule
