"""What an ECP5's netlist becomes before nextpnr places it: fewer constants that are wires.

nextpnr-ecp5 takes a constant from one LUT of the part wherever the configuration has no bit for it. A tree to 1,400
inputs passes the most crowded tiles: of the time that the last arcs of a ULX3S took four fifths were this tree's, and
some routes did not end. Half of these inputs need no constant: what a carry chain starts with, for which nextpnr puts
a CCU2C with that wire before the chain, and upper address bits of a LUT RAM of fewer than 16 words. Where the design
has a VLO or VHI of its own, for what is near to it, that is a LUT of its own, too.
"""

__all__ = ["ECP5_MAP"]

# Of a CCU2C, as yosys' ecp5/ccu2c_sim.vh models it, the carry of a half is its LUT2 where its LUT4 is 0, and what came
# where that is 1; a constant 1 is an input that nothing drives. With an address bit twice a memory's words are not
# where its initial values are, so these have to be 0
ECP5_MAP = """\
module VLO (output Z);
  LUT4 #(.INIT(16'h0000)) _TECHMAP_REPLACE_ (.A(1'b1), .B(1'b1), .C(1'b1), .D(1'b1), .Z(Z));
endmodule
module VHI (output Z);
  LUT4 #(.INIT(16'hffff)) _TECHMAP_REPLACE_ (.A(1'b1), .B(1'b1), .C(1'b1), .D(1'b1), .Z(Z));
endmodule
(* techmap_celltype = "CCU2C" *)
module carry_from_a_constant (input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
  parameter [15:0] INIT0 = 0, INIT1 = 0;
  parameter INJECT1_0 = "YES", INJECT1_1 = "YES";
  parameter _TECHMAP_CONSTVAL_CIN_ = 1'bx;
  wire carry;
  generate
    if (_TECHMAP_CONSTVAL_CIN_ !== 1'b0 && _TECHMAP_CONSTVAL_CIN_ !== 1'b1) begin
      wire _TECHMAP_FAIL_ = 1;
    end else begin
      CCU2C #(
        .INIT0(_TECHMAP_CONSTVAL_CIN_ ? 16'h000a : 16'h0000), .INIT1(16'hffff), .INJECT1_0("NO"), .INJECT1_1("YES")
      ) first (
        .CIN(1'bx), .A0(1'b1), .B0(1'b1), .C0(1'b1), .D0(1'b1), .A1(1'b1), .B1(1'b1), .C1(1'b1), .D1(1'b1), .COUT(carry)
      );
      CCU2C #(.INIT0(INIT0), .INIT1(INIT1), .INJECT1_0(INJECT1_0), .INJECT1_1(INJECT1_1)) _TECHMAP_REPLACE_ (
        .CIN(carry), .A0(A0), .B0(B0), .C0(C0), .D0(D0), .A1(A1), .B1(B1), .C1(C1), .D1(D1),
        .S0(S0), .S1(S1), .COUT(COUT)
      );
    end
  endgenerate
endmodule
(* techmap_celltype = "TRELLIS_DPR16X4" *)
module memory_of_few_words (input [3:0] DI, WAD, RAD, input WRE, WCK, output [3:0] DO);
  parameter WCKMUX = "WCK", WREMUX = "WRE";
  parameter [63:0] INITVAL = 0;
  parameter [3:0] _TECHMAP_CONSTMSK_WAD_ = 0, _TECHMAP_CONSTVAL_WAD_ = 0;
  parameter [3:0] _TECHMAP_CONSTMSK_RAD_ = 0, _TECHMAP_CONSTVAL_RAD_ = 0;
  localparam [3:0] same = _TECHMAP_CONSTMSK_WAD_ & ~_TECHMAP_CONSTVAL_WAD_
    & _TECHMAP_CONSTMSK_RAD_ & ~_TECHMAP_CONSTVAL_RAD_;
  generate
    if (same === 4'b0000 || same[0] !== 1'b0 || (|INITVAL) === 1'b1) begin
      wire _TECHMAP_FAIL_ = 1;
    end else begin
      TRELLIS_DPR16X4 #(.WCKMUX(WCKMUX), .WREMUX(WREMUX), .INITVAL(64'd0)) _TECHMAP_REPLACE_ (
        .WAD({same[3] ? WAD[0] : WAD[3], same[2] ? WAD[0] : WAD[2], same[1] ? WAD[0] : WAD[1], WAD[0]}),
        .RAD({same[3] ? RAD[0] : RAD[3], same[2] ? RAD[0] : RAD[2], same[1] ? RAD[0] : RAD[1], RAD[0]}),
        .DI(DI), .WRE(WRE), .WCK(WCK), .DO(DO)
      );
    end
  endgenerate
endmodule
"""
"""Verilog for yosys' ``techmap``."""
