# The IPs that vivado_stubs.tcl knows: properties with their values, defaults, versions, pins and interfaces.
# Facts: AMD PG021 (AXI DMA), PG201 and PG082 (processors), PG164 (resets), PG099 (interrupts), PG247 (SmartConnect), UG1399
# (ports of an HLS IP).
set widths {32 64 128 256 512 1024}
set flag {0 1}
set properties [dict create \
    zynq_ultra_ps_e [dict create PSU__USE__M_AXI_GP0 $flag PSU__USE__M_AXI_GP1 $flag PSU__USE__M_AXI_GP2 $flag \
        PSU__USE__S_AXI_GP2 $flag PSU__SAXIGP2__DATA_WIDTH {32 64 128} PSU__USE__S_AXI_GP3 $flag \
        PSU__SAXIGP3__DATA_WIDTH {32 64 128} PSU__USE__S_AXI_GP4 $flag PSU__SAXIGP4__DATA_WIDTH {32 64 128} \
        PSU__USE__S_AXI_GP5 $flag PSU__SAXIGP5__DATA_WIDTH {32 64 128} PSU__USE__IRQ0 $flag PSU__FPGA_PL0_ENABLE $flag \
        PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ number] \
    processing_system7 [dict create PCW_USE_M_AXI_GP0 $flag PCW_USE_S_AXI_HP0 $flag PCW_S_AXI_HP0_DATA_WIDTH {32 64} \
        PCW_USE_S_AXI_HP1 $flag PCW_S_AXI_HP1_DATA_WIDTH {32 64} PCW_USE_S_AXI_HP2 $flag \
        PCW_S_AXI_HP2_DATA_WIDTH {32 64} PCW_USE_S_AXI_HP3 $flag PCW_S_AXI_HP3_DATA_WIDTH {32 64} \
        PCW_USE_FABRIC_INTERRUPT $flag PCW_IRQ_F2P_INTR $flag PCW_EN_CLK0_PORT $flag PCW_EN_RST0_PORT $flag \
        PCW_FPGA0_PERIPHERAL_FREQMHZ number] \
    axi_dma [dict create c_include_sg $flag c_sg_include_stscntrl_strm $flag c_include_mm2s $flag c_include_s2mm $flag \
        c_sg_length_width {8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26} c_addr_width number \
        c_m_axis_mm2s_tdata_width {8 16 32 64 128 256 512 1024} c_s_axis_s2mm_tdata_width {8 16 32 64 128 256 512 1024} \
        c_m_axi_mm2s_data_width $widths c_m_axi_s2mm_data_width $widths \
        c_mm2s_burst_size {2 4 8 16 32 64 128 256} c_s2mm_burst_size {2 4 8 16 32 64 128 256}] \
    smartconnect [dict create NUM_SI {1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16} NUM_MI {1 2 3 4 5 6 7 8} NUM_CLKS {1 2 3}] \
    proc_sys_reset [dict create C_EXT_RESET_HIGH $flag] \
    axi_intc [dict create C_IRQ_CONNECTION $flag] \
    accel [dict create]]
set defaults {
    zynq_ultra_ps_e {PSU__USE__M_AXI_GP0 0 PSU__USE__M_AXI_GP1 0 PSU__USE__M_AXI_GP2 1 PSU__USE__S_AXI_GP2 0
        PSU__USE__S_AXI_GP3 0 PSU__USE__S_AXI_GP4 0 PSU__USE__S_AXI_GP5 0
        PSU__USE__IRQ0 0 PSU__FPGA_PL0_ENABLE 1 PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 100}
    processing_system7 {PCW_USE_M_AXI_GP0 1 PCW_USE_S_AXI_HP0 0 PCW_USE_S_AXI_HP1 0
        PCW_USE_S_AXI_HP2 0 PCW_USE_S_AXI_HP3 0 PCW_USE_FABRIC_INTERRUPT 0 PCW_IRQ_F2P_INTR 0
        PCW_EN_CLK0_PORT 1 PCW_EN_RST0_PORT 1 PCW_FPGA0_PERIPHERAL_FREQMHZ 50}
    axi_dma {c_include_sg 1 c_include_mm2s 1 c_include_s2mm 1 c_sg_length_width 14 c_addr_width 32
        c_m_axis_mm2s_tdata_width 32 c_s_axis_s2mm_tdata_width 32 c_m_axi_mm2s_data_width 32 c_m_axi_s2mm_data_width 32
        c_mm2s_burst_size 16 c_s2mm_burst_size 16 c_sg_include_stscntrl_strm 1}
    smartconnect {NUM_SI 2 NUM_MI 1 NUM_CLKS 1} proc_sys_reset {C_EXT_RESET_HIGH 0} axi_intc {C_IRQ_CONNECTION 0} accel {}
}
set versions {zynq_ultra_ps_e 3.5 processing_system7 5.5 axi_dma 7.1 smartconnect 1.0 proc_sys_reset 5.0 axi_intc 4.1}
set MM xilinx.com:interface:aximm_rtl:1.0
set AXIS xilinx.com:interface:axis_rtl:1.0

proc cfg {cell key} { return $::config($cell,$key) }
proc ip_of {cell} { return [lindex [split $::config($cell,VLNV) :] 2] }

# Pins of a cell as its configuration stands: name {direction type required}.
proc pins {cell} {
    switch [ip_of $cell] {
        zynq_ultra_ps_e {
            set p {}
            if {[cfg $cell PSU__FPGA_PL0_ENABLE]} { lappend p pl_clk0 {O clk 0} }
            lappend p pl_resetn0 {O rst 0}
            if {[cfg $cell PSU__USE__IRQ0]} { lappend p pl_ps_irq0 {I intr 0} }
            foreach {key pin} {PSU__USE__M_AXI_GP0 maxihpm0_fpd_aclk PSU__USE__M_AXI_GP1 maxihpm1_fpd_aclk
                PSU__USE__M_AXI_GP2 maxihpm0_lpd_aclk PSU__USE__S_AXI_GP2 saxihp0_fpd_aclk
                PSU__USE__S_AXI_GP3 saxihp1_fpd_aclk PSU__USE__S_AXI_GP4 saxihp2_fpd_aclk
                PSU__USE__S_AXI_GP5 saxihp3_fpd_aclk} {
                if {[cfg $cell $key]} { lappend p $pin {I clk 1} }
            }
            return $p
        }
        processing_system7 {
            set p {}
            if {[cfg $cell PCW_EN_CLK0_PORT]} { lappend p FCLK_CLK0 {O clk 0} }
            if {[cfg $cell PCW_EN_RST0_PORT]} { lappend p FCLK_RESET0_N {O rst 0} }
            if {[cfg $cell PCW_USE_FABRIC_INTERRUPT] && [cfg $cell PCW_IRQ_F2P_INTR]} { lappend p IRQ_F2P {I intr 0} }
            if {[cfg $cell PCW_USE_M_AXI_GP0]} { lappend p M_AXI_GP0_ACLK {I clk 1} }
            foreach k {0 1 2 3} {
                if {[cfg $cell PCW_USE_S_AXI_HP$k]} { lappend p S_AXI_HP${k}_ACLK {I clk 1} }
            }
            return $p
        }
        axi_dma {
            set p {s_axi_lite_aclk {I clk 1} axi_resetn {I rst 1} mm2s_introut {O intr 0} s2mm_introut {O intr 0}
                m_axi_mm2s_aclk {I clk 1} m_axi_s2mm_aclk {I clk 1} mm2s_prmry_reset_out_n {O rst 0}
                s2mm_prmry_reset_out_n {O rst 0}}
            if {[cfg $cell c_include_sg]} { lappend p m_axi_sg_aclk {I clk 1} }
            return $p
        }
        smartconnect { return {aclk {I clk 1} aresetn {I rst 1}} }
        proc_sys_reset {
            return {slowest_sync_clk {I clk 1} ext_reset_in {I rst 1} aux_reset_in {I rst 0} mb_debug_sys_rst {I rst 0}
                dcm_locked {I data 0} mb_reset {O rst 0} bus_struct_reset {O rst 0} peripheral_reset {O rst 0}
                interconnect_aresetn {O rst 0} peripheral_aresetn {O rst 0}}
        }
        axi_intc { return {s_axi_aclk {I clk 1} s_axi_aresetn {I rst 1} intr {I intr 1} irq {O intr 0}} }
        accel { return {ap_clk {I clk 1} ap_rst_n {I rst 1} interrupt {O intr 0}} }
    }
}

# Interfaces of a cell: name {mode vlnv clock-pin width-in-bits-or-0 address-space}.
proc intfs {cell} {
    switch [ip_of $cell] {
        zynq_ultra_ps_e {
            set p {}
            foreach {key name clock mode} {PSU__USE__M_AXI_GP0 M_AXI_HPM0_FPD maxihpm0_fpd_aclk Master
                PSU__USE__M_AXI_GP1 M_AXI_HPM1_FPD maxihpm1_fpd_aclk Master
                PSU__USE__M_AXI_GP2 M_AXI_HPM0_LPD maxihpm0_lpd_aclk Master
                PSU__USE__S_AXI_GP2 S_AXI_HP0_FPD saxihp0_fpd_aclk Slave
                PSU__USE__S_AXI_GP3 S_AXI_HP1_FPD saxihp1_fpd_aclk Slave
                PSU__USE__S_AXI_GP4 S_AXI_HP2_FPD saxihp2_fpd_aclk Slave
                PSU__USE__S_AXI_GP5 S_AXI_HP3_FPD saxihp3_fpd_aclk Slave} {
                if {[cfg $cell $key]} { lappend p $name [list $mode $::MM $clock 0] }
            }
            return $p
        }
        processing_system7 {
            set p {DDR {Master xilinx.com:interface:ddrx_rtl:1.0 {} 0}
                FIXED_IO {Master xilinx.com:display_processing_system7:fixedio_rtl:1.0 {} 0}}
            if {[cfg $cell PCW_USE_M_AXI_GP0]} { lappend p M_AXI_GP0 [list Master $::MM M_AXI_GP0_ACLK 0] }
            foreach k {0 1 2 3} {
                if {[cfg $cell PCW_USE_S_AXI_HP$k]} { lappend p S_AXI_HP$k [list Slave $::MM S_AXI_HP${k}_ACLK 0] }
            }
            return $p
        }
        axi_dma {
            set p [list S_AXI_LITE [list Slave $::MM s_axi_lite_aclk 0] \
                M_AXI_MM2S [list Master $::MM m_axi_mm2s_aclk 0] M_AXI_S2MM [list Master $::MM m_axi_s2mm_aclk 0] \
                M_AXIS_MM2S [list Master $::AXIS m_axi_mm2s_aclk [cfg $cell c_m_axis_mm2s_tdata_width]] \
                S_AXIS_S2MM [list Slave $::AXIS m_axi_s2mm_aclk [cfg $cell c_s_axis_s2mm_tdata_width]]]
            if {[cfg $cell c_include_sg]} { lappend p M_AXI_SG [list Master $::MM m_axi_sg_aclk 0] }
            return $p
        }
        smartconnect {
            set p {}
            for {set i 0} {$i < [cfg $cell NUM_SI]} {incr i} { lappend p [format S%02d_AXI $i] [list Slave $::MM aclk 0] }
            for {set i 0} {$i < [cfg $cell NUM_MI]} {incr i} { lappend p [format M%02d_AXI $i] [list Master $::MM aclk 0] }
            return $p
        }
        proc_sys_reset { return {} }
        axi_intc { return [list s_axi [list Slave $::MM s_axi_aclk 0]] }
        accel {
            if {[dict exists $::hls masters]} {
                set p [list s_axi_control [list Slave $::MM ap_clk 0]]
                foreach name [dict get $::hls masters] { lappend p m_axi_$name [list Master $::MM ap_clk 0] }
                return $p
            }
            # "in" and "out" are words of VHDL: HLS appends _r.
            return [list s_axi_control [list Slave $::MM ap_clk 0] \
                in_r [list Slave $::AXIS ap_clk [dict get $::hls in]] out_r [list Master $::AXIS ap_clk [dict get $::hls out]]]
        }
    }
}
proc find_pin {path table what} {
    lassign [split $path /] cell pin
    known $cell cell
    foreach {name facts} [$table $cell] { if {$name eq $pin} { return $facts } }
    fail "\[BD 5-216\] no $what $path: [dict keys [$table $cell]]"
}
