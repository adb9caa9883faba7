    // Inside of a RAMB18E1 and of a RAMB36E1, from Xilinx UG473: LANES bytes with a parity bit each, of which port A and
    // port B move up to HALF, or together, as one simple port, twice as many. A read returns what was there before a
    // write in the same cycle (READ_FIRST, also across the ports, whose clock is the same one).
    localparam WHOLE = 2 * HALF, TOP = $clog2(LANES) + 2;
    localparam SIMPLE = RAM_MODE == "SDP";
    localparam READ_A = READ_WIDTH_A / 9, READ_B = READ_WIDTH_B / 9;
    localparam WRITE_A = WRITE_WIDTH_A / 9, WRITE_B = WRITE_WIDTH_B / 9;
    generate
        if (WRITE_MODE_A != "READ_FIRST" || WRITE_MODE_B != "READ_FIRST" || DOA_REG != 0 || DOB_REG != 0
            || READ_WIDTH_A % 9 != 0 || READ_WIDTH_B % 9 != 0 || WRITE_WIDTH_A % 9 != 0 || WRITE_WIDTH_B % 9 != 0
            || IS_CLKARDCLK_INVERTED || IS_CLKBWRCLK_INVERTED || IS_ENARDEN_INVERTED || IS_ENBWREN_INVERTED)
            block_ram_in_a_way_that_is_not_modelled no_such_module();
    endgenerate

    reg [8:0] lanes [0:LANES - 1];
    reg [9 * WHOLE - 1:0] read_a, read_b;
    integer i;
    initial begin
        for (i = 0; i < LANES; i = i + 1) lanes[i] = {initial_parity[i], initial_data[8 * i +: 8]};
        read_a = 0;
        read_b = 0;
    end

    wire [31:0] at_a = ADDRARDADDR[TOP:3], at_b = ADDRBWRADDR[TOP:3];
    wire [9 * HALF - 1:0] data_a, data_b;
    wire [9 * WHOLE - 1:0] both = {data_b, data_a};
    wire wide = SIMPLE && WRITE_B > HALF;
    genvar k;
    generate
        for (k = 0; k < HALF; k = k + 1) begin : lane
            assign data_a[9 * k +: 9] = {DIPADIP[k], DIADI[8 * k +: 8]};
            assign data_b[9 * k +: 9] = {DIPBDIP[k], DIBDI[8 * k +: 8]};
            assign {DOPADOP[k], DOADO[8 * k +: 8]} = read_a[9 * k +: 9];
            assign {DOPBDOP[k], DOBDO[8 * k +: 8]} = SIMPLE ? read_a[9 * (HALF + k) +: 9] : read_b[9 * k +: 9];
        end
    endgenerate

    integer n;
    always @(posedge CLKARDCLK) begin
        if (RSTRAMARSTRAM || RSTRAMB) $fatal(1, "the reset of a block RAM's output is not modelled");
        if (ENARDEN) begin
            for (n = 0; n < READ_A; n = n + 1) read_a[9 * n +: 9] <= lanes[(at_a & ~(READ_A - 1)) | n];
            if (!SIMPLE) for (n = 0; n < WRITE_A; n = n + 1)
                if (WEA[n]) lanes[(at_a & ~(WRITE_A - 1)) | n] <= data_a[9 * n +: 9];
        end
        if (ENBWREN) begin
            if (!SIMPLE) for (n = 0; n < READ_B; n = n + 1) read_b[9 * n +: 9] <= lanes[(at_b & ~(READ_B - 1)) | n];
            for (n = 0; n < WRITE_B; n = n + 1)
                if (WEBWE[n]) lanes[(at_b & ~(WRITE_B - 1)) | n] <= wide ? both[9 * n +: 9] : data_b[9 * n +: 9];
        end
    end
