// What a MULT18X18D does with the registers that are used, written from Lattice's sysDSP usage guide (TN1267); yosys has no
// model of it. Operand, pipeline and output registers are there when they have a clock; any of four clock enables and
// resets holds or clears them.
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0",
    parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0",
    parameter GSR = "ENABLED"
) (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,  // of no use without the ALU
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    function enabled(input [23:0] name);
        enabled = name == "CE0" ? CE0 : name == "CE1" ? CE1 : name == "CE2" ? CE2 : CE3;
    endfunction
    function cleared(input [31:0] name);
        cleared = name == "RST0" ? RST0 : name == "RST1" ? RST1 : name == "RST2" ? RST2 : RST3;
    endfunction

    wire [17:0] a_in = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b_in = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg [17:0] a_held, b_held;
    reg [35:0] product_held, p_held;
    wire [17:0] a = REG_INPUTA_CLK == "NONE" ? a_in : a_held;
    wire [17:0] b = REG_INPUTB_CLK == "NONE" ? b_in : b_held;
    wire signed [18:0] wide_a = {SIGNEDA & a[17], a};
    wire signed [18:0] wide_b = {SIGNEDB & b[17], b};
    wire signed [37:0] exact = wide_a * wide_b;
    wire [35:0] product = REG_PIPELINE_CLK == "NONE" ? exact[35:0] : product_held;
    wire [35:0] p = REG_OUTPUT_CLK == "NONE" ? product : p_held;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
            P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} =
        SOURCEA | SOURCEB ? 36'bx : p;  // the shift chain is not modelled

    always @(posedge CLK0) begin
        if (cleared(REG_INPUTA_RST)) a_held <= 0;
        else if (enabled(REG_INPUTA_CE)) a_held <= a_in;
        if (cleared(REG_INPUTB_RST)) b_held <= 0;
        else if (enabled(REG_INPUTB_CE)) b_held <= b_in;
        if (cleared(REG_PIPELINE_RST)) product_held <= 0;
        else if (enabled(REG_PIPELINE_CE)) product_held <= exact[35:0];
        if (cleared(REG_OUTPUT_RST)) p_held <= 0;
        else if (enabled(REG_OUTPUT_CE)) p_held <= product;
    end
endmodule
