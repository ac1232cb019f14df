// A table operator as a stream: the layer's own table, one clock of latency.
module table_layer (
    input clk,
    input rst,
    input in0_valid,
    input [7:0] in0,
    output reg out0_valid,
    output reg [7:0] out0
);
  reg [7:0] rom[0:255];
  initial $readmemh(`TABLE_HEX, rom);
  always @(posedge clk) begin
    out0_valid <= in0_valid && !rst;
    out0 <= rom[in0 ^ 8'h80];
  end
endmodule
