    // Inside of a DP16KD, from Lattice's memory guide (FPGA-TN-02204): 1,024 words of two lanes of 9 bits, one clock on
    // both ports, no output registers. Words of 36 bits are written through port A and read through port B, with the
    // data pins of both. A write as wide as two lanes or more has its byte enables on the lowest address bits. A read in
    // the cycle of a write returns what was there before; in mode NORMAL the port that writes keeps its output.
    localparam A = DATA_WIDTH_A / 9, B = DATA_WIDTH_B / 9;
    generate
        if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB"
            || DATA_WIDTH_A % 9 != 0 || DATA_WIDTH_B % 9 != 0
            || (WRITEMODE_A != "NORMAL" && WRITEMODE_A != "READBEFOREWRITE")
            || (WRITEMODE_B != "NORMAL" && WRITEMODE_B != "READBEFOREWRITE"))
            block_ram_in_a_way_that_is_not_modelled no_such_module();
    endgenerate

    reg [8:0] lanes [0:2047];
    reg [35:0] read_a, read_b;
    integer i;
    initial begin
        for (i = 0; i < 2048; i = i + 1) lanes[i] = initial_data[i / 2 * 20 + i % 2 * 9 +: 9];
        read_a = 0;
        read_b = 0;
    end

    wire [31:0] at_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3};
    wire [31:0] at_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3};
    wire [17:0] data_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
                          DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] data_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
                          DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [35:0] both = {data_b, data_a};
    wire [3:0] write_a = A == 1 ? {3'b0, WEA} : {ADA3 & A == 4, ADA2 & A == 4, ADA1, ADA0} & {4{WEA}};
    wire [3:0] write_b = B == 1 ? {3'b0, WEB} : {2'b0, ADB1, ADB0} & {4{WEB}};
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
            DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = B == 4 ? read_b[17:0] : read_a[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
            DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = B == 4 ? read_b[35:18] : read_b[17:0];

    integer n;
    always @(posedge CLKA) begin
        if (RSTA || RSTB) $fatal(1, "the reset of a block RAM's output is not modelled");
        if (CEA) begin
            for (n = 0; n < A; n = n + 1) begin
                if (WRITEMODE_A == "READBEFOREWRITE" || !WEA) read_a[9 * n +: 9] <= lanes[(at_a & ~(A - 1)) | n];
                if (write_a[n]) lanes[(at_a & ~(A - 1)) | n] <= both[9 * n +: 9];
            end
        end
        if (CEB) begin
            for (n = 0; n < B; n = n + 1) begin
                if (WRITEMODE_B == "READBEFOREWRITE" || !WEB) read_b[9 * n +: 9] <= lanes[(at_b & ~(B - 1)) | n];
                if (write_b[n]) lanes[(at_b & ~(B - 1)) | n] <= data_b[9 * n +: 9];
            end
        end
    end
