# Strict stand-ins for the commands of Vivado's batch mode that the generated scripts use. Each knows the real command's
# options (AMD UG835), and the IPs of vivado_ips.tcl their properties, pins and interfaces; anything else is an error, as in
# Vivado.
#
#   tclsh vivado_stubs.tcl STATE SCRIPT ARGUMENT...       STATE: file that receives the finished design as text
#
# Environment: STUB_BOARDS (installed board parts), STUB_WNS, STUB_WHS, STUB_PROGRESS, STUB_LAYOUT (gen|srcs),
# STUB_AUTO_WIDTH (a stream width that validation forces on the DMA, as propagation may).

set state_path [lindex $argv 0]
set script [lindex $argv 1]
foreach table {kind config driver link} { array set $table {} }
array set project {ip_repo_paths {} board_part {} target_language {} part {}}
lassign {{} {} 0 0} log catalogue assigned validated

proc fail {message} { error "ERROR: $message" }
proc env_or {name default} { if {[info exists ::env($name)]} { return $::env($name) }; return $default }

proc options {command valued flags arguments} {
    set found [dict create rest {}]
    for {set i 0} {$i < [llength $arguments]} {incr i} {
        set a [lindex $arguments $i]
        if {$a in $valued} {
            if {[incr i] >= [llength $arguments]} { fail "\[Common 17-157\] $command: Missing value for option '$a'" }
            dict set found $a [lindex $arguments $i]
        } elseif {$a in $flags} {
            dict set found $a 1
        } elseif {[string match {-[a-z]*} $a]} {
            fail "\[Common 17-170\] Unknown option '$a' of $command, please type '$command -help' for usage info."
        } else {
            dict lappend found rest $a
        }
    }
    return $found
}
proc rest {command found least most} {
    set r [dict get $found rest]
    if {[llength $r] < $least || [llength $r] > $most} {
        fail "\[Common 17-163\] $command: [llength $r] positional arguments '$r', $least to $most wanted"
    }
    return $r
}
proc known {object class} {
    if {![info exists ::kind($object)] || $::kind($object) ne $class} { fail "'$object' is no $class" }
}

source [file join [file dirname [info script]] vivado_ips.tcl]

# ------------------------------------------------------------------------------------------------- project, catalogue
proc create_project {args} {
    set f [options create_project {-part} {-force -in_memory -ip -quiet} $args]
    if {![dict exists $f -part]} { fail "create_project without -part" }
    if {[dict exists $f -in_memory]} { rest create_project $f 0 0 } else {
        lassign [rest create_project $f 1 2] name dir
        set ::project(name) $name
        set ::project(dir) $dir
        file mkdir $dir
    }
    set ::project(part) [dict get $f -part]
    set ::kind(project_1) project
    set ::kind(sources_1) fileset
}
proc current_project {} { if {$::project(part) eq {}} { fail "\[Common 17-53\] no open project" }; return project_1 }
proc current_fileset {} { current_project; return sources_1 }
proc get_board_parts {args} {
    set pattern [rest get_board_parts [options get_board_parts {-filter} {-quiet -latest_file_version} $args] 0 1]
    return [lsearch -all -inline -glob [env_or STUB_BOARDS {}] [expr {$pattern eq {} ? "*" : [lindex $pattern 0]}]]
}
proc update_ip_catalog {args} {
    rest update_ip_catalog [options update_ip_catalog {} {-rebuild -quiet} $args] 0 0
    foreach {ip version} $::versions { lappend ::catalogue xilinx.com:ip:$ip:$version }
    foreach folder $::project(ip_repo_paths) {
        set f [open [file join $folder component.xml]]
        set ::hls [read $f]
        close $f
        lappend ::catalogue xilinx.com:hls:[dict get $::hls name]:1.0
    }
}
proc get_ipdefs {args} {
    set pattern [lindex [rest get_ipdefs [options get_ipdefs {-filter} {-quiet -all} $args] 1 1] 0]
    return [lsearch -all -inline -glob $::catalogue $pattern]
}

# -------------------------------------------------------------------------------------------------------- properties
proc set_property {args} {
    set f [options set_property {-dict} {-quiet} $args]
    if {[dict exists $f -dict]} {
        set object [lindex [rest set_property $f 1 1] 0]
        set pairs [dict get $f -dict]
    } else {
        lassign [rest set_property $f 3 3] key value object
        set pairs [list $key $value]
    }
    if {![info exists ::kind($object)]} { fail "set_property: no object '$object'" }
    foreach {key value} $pairs { set_one $::kind($object) $object $key $value }
}
proc set_one {class object key value} {
    switch $class {
        cell {
            if {![string match CONFIG.* $key]} { fail "\[Common 17-54\] no property $key of cell $object" }
            set name [string range $key 7 end]
            set known [dict get $::properties [ip_of $object]]
            if {![dict exists $known $name]} { fail "\[BD 41-1276\] no property CONFIG.$name of $::config($object,VLNV)" }
            set allowed [dict get $known $name]
            if {$allowed eq {number} ? ![string is double -strict $value] : $value ni $allowed} {
                fail "\[IP_Flow 19-3461\] value '$value' is out of the range of CONFIG.$name: $allowed"
            }
            set ::config($object,$name) $value
        }
        project {
            if {$key ni {board_part target_language ip_repo_paths}} { fail "no property $key of a project" }
            if {$key eq {board_part} && $value ni [env_or STUB_BOARDS {}]} { fail "\[Board 49-71\] no board part $value" }
            set ::project($key) $value
        }
        fileset {
            if {$key ne {top}} { fail "no property $key of a fileset" }
            set ::project(top) $value
        }
        xci { if {$key ne {generate_synth_checkpoint} || $value ni {true false}} { fail "no property $key of an IP file" } }
        default { fail "set_property on a $class" }
    }
}
proc get_property {args} {
    lassign [rest get_property [options get_property {} {-quiet} $args] 2 2] key object
    if {![info exists ::kind($object)]} { fail "get_property: no object '$object'" }
    switch $::kind($object) {
        cell { return [cfg $object [string range $key 7 end]] }
        pin {
            lassign [split $object /] cell name
            foreach k {PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ PCW_FPGA0_PERIPHERAL_FREQMHZ} {
                if {$key eq {CONFIG.FREQ_HZ} && [info exists ::config($cell,$k)]} {
                    return [expr {round(1e6 * $::config($cell,$k))}]
                }
            }
        }
        run {
            switch $key {
                PROGRESS { return [env_or STUB_PROGRESS 100%] }
                STATUS { return {write_bitstream Complete!} }
                DIRECTORY { return [file join $::project(dir) system.runs impl_1] }
                STATS.WNS { return [env_or STUB_WNS 0.125] }
                STATS.WHS { return [env_or STUB_WHS 0.01] }
            }
        }
        path { if {$key eq {SLACK}} { return [env_or STUB_WNS 0.125] } }
    }
    fail "no property $key of $object"
}

# ------------------------------------------------------------------------------------------------------ block design
proc create_bd_design {name} { set ::project(bd) $name; set ::kind($name.bd) bdfile; return $name }
proc create_bd_cell {args} {
    set f [options create_bd_cell {-type -vlnv -reference} {-quiet} $args]
    set name [lindex [rest create_bd_cell $f 1 1] 0]
    if {![info exists ::project(bd)]} { fail "\[BD 5-106\] no open block design" }
    if {[dict get $f -type] ne {ip} || [dict get $f -vlnv] ni $::catalogue} {
        fail "\[BD 5-390\] IP definition not found for VLNV: [dict get $f -vlnv]"
    }
    if {[info exists ::kind($name)]} { fail "\[BD 5-158\] '$name' exists already" }
    set ::kind($name) cell
    set ::config($name,VLNV) [dict get $f -vlnv]
    foreach {k v} [dict get $::defaults [ip_of $name]] { set ::config($name,$k) $v }
    return $name
}
proc get_bd_cells {name} { known $name cell; return $name }
proc get_bd_pins {path} { find_pin $path pins pin; set ::kind($path) pin; return $path }
proc get_bd_intf_pins {args} {
    set f [options get_bd_intf_pins {-of_objects -filter} {-quiet} $args]
    if {![dict exists $f -of_objects]} {
        set path [lindex [rest get_bd_intf_pins $f 1 1] 0]
        find_pin $path intfs {interface pin}
        set ::kind($path) intf
        return $path
    }
    set cell [dict get $f -of_objects]
    known $cell cell
    if {![regexp {^MODE == (Master|Slave) && VLNV =~ (\S+)$} [dict get $f -filter] - mode pattern]} {
        fail "\[Common 17-161\] filter '[dict get $f -filter]' is not understood"
    }
    set found {}
    foreach {name facts} [intfs $cell] {
        if {[lindex $facts 0] eq $mode && [string match $pattern [lindex $facts 1]]} {
            lappend found $cell/$name
            set ::kind($cell/$name) intf
        }
    }
    return $found
}
proc connect_bd_intf_net {args} {
    lassign [rest connect_bd_intf_net [options connect_bd_intf_net {-intf_net} {-quiet} $args] 2 2] a b
    known $a intf
    known $b intf
    set fa [find_pin $a intfs {}]
    set fb [find_pin $b intfs {}]
    if {[lindex $fa 1] ne [lindex $fb 1]} { fail "\[BD 5-10\] $a and $b are of different interface types" }
    if {[lindex $fa 0] eq [lindex $fb 0]} { fail "\[BD 41-1756\] $a and $b are both [lindex $fa 0]" }
    foreach pin [list $a $b] { if {[info exists ::link($pin)]} { fail "\[BD 5-6\] $pin is connected already" } }
    if {[lindex $fa 0] eq {Slave}} { lassign [list $b $a] a b }
    set ::link($a) $b
    set ::link($b) $a
    set ::assigned 0
}
proc connect_bd_net {args} {
    set pins [rest connect_bd_net [options connect_bd_net {-net} {-quiet} $args] 2 99]
    set sources {}
    set sinks {}
    foreach pin $pins {
        known $pin pin
        if {[lindex [find_pin $pin pins {}] 0] eq {O}} { lappend sources $pin } else { lappend sinks $pin }
    }
    if {[llength $sources] != 1} { fail "\[BD 41-1306\] a net has [llength $sources] drivers: $pins" }
    set type [lindex [find_pin [lindex $sources 0] pins {}] 1]
    foreach pin $sinks {
        if {[lindex [find_pin $pin pins {}] 1] ne $type} { fail "\[BD 41-1731\] type mismatch: [lindex $sources 0] and $pin" }
        if {[info exists ::driver($pin)]} { fail "\[BD 5-6\] $pin is connected already" }
        set ::driver($pin) [lindex $sources 0]
    }
}
proc apply_bd_automation {args} {
    set f [options apply_bd_automation {-rule -config} {-quiet} $args]
    set cell [lindex [rest apply_bd_automation $f 1 1] 0]
    known $cell cell
    if {[dict get $f -rule] ne "xilinx.com:bd_rule:[ip_of $cell]"} { fail "\[BD 5-145\] rule [dict get $f -rule] on $cell" }
    set known [dict get {zynq_ultra_ps_e apply_board_preset processing_system7 {make_external apply_board_preset Master Slave}} \
        [ip_of $cell]]
    foreach {k v} [dict get $f -config] { if {$k ni $known} { fail "\[BD 5-147\] no option $k of [dict get $f -rule]" } }
    if {[dict get $f -config apply_board_preset] && $::project(board_part) eq {}} { fail "\[BD 41-1] no board to take a preset of" }
    if {[dict get $f -config apply_board_preset]} { set ::config($cell,preset) 1 }
    if {[ip_of $cell] eq {processing_system7} && [dict get $f -config make_external] eq {FIXED_IO, DDR}} {
        foreach port {DDR FIXED_IO} { set ::link($cell/$port) external }
    }
}
proc assign_bd_address {args} {
    rest assign_bd_address [options assign_bd_address {-target_address_space -offset -range} {-force -quiet} $args] 0 1
    set ::assigned 1
}
proc validate_bd_design {args} {
    rest validate_bd_design [options validate_bd_design {} {-force -quiet} $args] 0 0
    set width [env_or STUB_AUTO_WIDTH {}]
    foreach cell [lsort [array names ::kind]] {
        if {$::kind($cell) ne {cell}} continue
        foreach {name facts} [pins $cell] {
            if {[lindex $facts 2] && ![info exists ::driver($cell/$name)]} { fail "\[BD 41-758\] $cell/$name is not connected" }
        }
        foreach {name facts} [intfs $cell] {
            set pin $cell/$name
            if {![info exists ::link($pin)]} { fail "\[BD 41-759\] interface $pin is not connected" }
            set other $::link($pin)
            if {$other eq {external}} continue
            set there [find_pin $other intfs {}]
            if {[lindex $facts 3] != [lindex $there 3]} {
                fail "\[BD 41-237\] TDATA_NUM_BYTES of $pin ([lindex $facts 3] bits) and $other ([lindex $there 3] bits) differ"
            }
            if {$::driver($cell/[lindex $facts 2]) ne $::driver([lindex [split $other /] 0]/[lindex $there 2])} {
                fail "\[BD 41-237\] CLK_DOMAIN of $pin and $other differ"
            }
        }
        if {[ip_of $cell] eq {axi_dma}} {
            foreach {way stream} {mm2s m_axis_mm2s s2mm s_axis_s2mm} {
                set wide [cfg $cell c_m_axi_${way}_data_width]
                if {$wide < [cfg $cell c_${stream}_tdata_width]} { fail "\[xilinx.com:ip:axi_dma\] memory narrower than stream" }
                if {$wide / 8 * [cfg $cell c_${way}_burst_size] > 4096} { fail "\[xilinx.com:ip:axi_dma\] bursts above 4 KiB" }
            }
            if {$width ne {}} { set ::config($cell,c_m_axis_mm2s_tdata_width) $width }
        }
    }
    if {!$::assigned} { fail "\[BD 41-1356\] address blocks are not mapped" }
    set ::validated 1
}
proc save_bd_design {} { lappend ::log saved }
proc get_files {name} {
    if {![info exists ::kind($name)] || $::kind($name) ni {bdfile xci}} { fail "no file $name" }
    return $name
}
proc make_wrapper {args} {
    set f [options make_wrapper {-files} {-top -import -quiet -force} $args]
    rest make_wrapper $f 0 0
    known [dict get $f -files] bdfile
    if {!$::validated} { fail "the block design is not validated" }
    return [file join $::project(dir) system_wrapper.v]
}
proc add_files {args} {
    foreach path [rest add_files [options add_files {-fileset} {-norecurse -quiet} $args] 1 9] { lappend ::log "added [file tail $path]" }
}
proc update_compile_order {args} { rest update_compile_order [options update_compile_order {-fileset} {-quiet} $args] 0 0 }

# ------------------------------------------------------------------------------------------------------------- runs
proc launch_runs {args} {
    set f [options launch_runs {-to_step -jobs -dir -host} {-force -quiet} $args]
    if {[rest launch_runs $f 1 1] ne {impl_1} || [dict get $f -to_step] ne {write_bitstream}} { fail "launch_runs $args" }
    if {![string is integer -strict [dict get $f -jobs]]} { fail "launch_runs -jobs [dict get $f -jobs]" }
    if {![info exists ::project(top)]} { fail "no top module" }
    set ::kind(impl_1) run
}
proc wait_on_run {args} {
    known [lindex [rest wait_on_run [options wait_on_run {-timeout} {-quiet} $args] 1 1] 0] run
    set runs [file join $::project(dir) system.runs impl_1]
    set handoff [file join $::project(dir) system.[env_or STUB_LAYOUT gen] sources_1 bd $::project(bd) hw_handoff]
    foreach {folder name} [list $runs system_wrapper.bit $handoff system.hwh] {
        file mkdir $folder
        write [file join $folder $name] "$name of a stand-in\n"
    }
}
proc get_runs {name} { known $name run; return $name }
proc open_run {name} { known $name run; set ::kind(netlist) 1 }
proc write {path text} { set f [open $path w]; puts -nonewline $f $text; close $f }
proc report {command valued flags arguments} {
    set f [options $command $valued $flags $arguments]
    rest $command $f 0 0
    if {![info exists ::kind(netlist)]} { fail "\[Common 17-53\] no open design for $command" }
    write [dict get $f -file] "$command\n"
}
proc report_utilization {args} { report report_utilization {-file} {-hierarchical -quiet} $args }
proc report_timing_summary {args} { report report_timing_summary {-file -max_paths -delay_type} {-quiet} $args }

# --------------------------------------------------------------------------------------------------- out of context
proc create_ip {args} {
    set f [options create_ip {-vlnv -name -vendor -library -version -module_name -dir} {-quiet} $args]
    rest create_ip $f 0 0
    if {[dict get $f -vlnv] ni $::catalogue} { fail "\[Coretcl 2-1134\] No IP matching VLNV '[dict get $f -vlnv]' was found." }
    if {![file isdirectory [dict get $f -dir]]} { fail "\[Vivado 12-3441\] -dir [dict get $f -dir] does not exist" }
    set ::kind([dict get $f -module_name]) ip
    set ::kind([dict get $f -module_name].xci) xci
}
proc get_ips {name} { known $name ip; return $name }
proc generate_target {target ip} {
    known $ip ip
    if {$target ni {all synthesis}} { fail "no target $target" }
    set ::kind(generated) 1
}
proc synth_design {args} {
    set f [options synth_design {-top -part -mode -flatten_hierarchy -directive} {-quiet} $args]
    rest synth_design $f 0 0
    known [dict get $f -top] ip
    if {[dict get $f -mode] ni {default out_of_context} || [dict get $f -part] ne $::project(part)} { fail "synth_design $args" }
    if {![info exists ::kind(generated)]} { fail "output products of [dict get $f -top] are missing" }
    set ::stage synthesised
    set ::kind(netlist) 1
    set ::kind(ap_clk) port
}
proc get_ports {name} { known $name port; return $name }
proc get_clocks {args} {
    rest get_clocks [options get_clocks {-of_objects} {-quiet} $args] 0 1
    return [expr {[info exists ::clock] ? {ap_clk} : {}}]
}
proc create_clock {args} {
    set f [options create_clock {-period -name -waveform} {-add -quiet} $args]
    known [lindex [rest create_clock $f 1 1] 0] port
    set ::clock [dict get $f -period]
    lappend ::log "clock $::clock"
}
foreach {step before} {opt_design synthesised place_design opt_design phys_opt_design place_design route_design phys_opt_design} {
    proc $step {args} [format {
        rest %1$s [options %1$s {-directive} {-quiet} $args] 0 0
        if {$::stage ne {%2$s}} { fail "%1$s after $::stage" }
        set ::stage %1$s
    } $step $before]
}
proc get_timing_paths {args} {
    rest get_timing_paths [options get_timing_paths {-max_paths -nworst} {-setup -hold -quiet} $args] 0 0
    if {![info exists ::clock]} { return {} }
    set ::kind(path_1) path
    return path_1
}

# ------------------------------------------------------------------------------------------------------------- state
rename exit real_exit
proc dump {} {
    set lines {}
    foreach {k v} [array get ::project] { lappend lines [list project $k $v] }
    foreach {k v} [array get ::config] { lappend lines [list config {*}[split $k ,] $v] }
    foreach {k v} [array get ::link] { lappend lines [list link $k $v] }
    foreach {k v} [array get ::driver] { lappend lines [list driver $k $v] }
    foreach line $::log { lappend lines [list log $line] }
    lappend lines [list validated $::validated]
    write $::state_path [join [lsort $lines] \n]
}
proc exit {{code 0}} { dump; real_exit $code }

# The script runs in an interpreter of its own, which has Tcl's commands and these.
interp create vivado
foreach command {
    create_project current_project current_fileset get_board_parts update_ip_catalog get_ipdefs set_property get_property
    create_bd_design create_bd_cell get_bd_cells get_bd_pins get_bd_intf_pins connect_bd_intf_net connect_bd_net
    apply_bd_automation assign_bd_address validate_bd_design save_bd_design get_files make_wrapper add_files
    update_compile_order launch_runs wait_on_run get_runs open_run report_utilization report_timing_summary create_ip get_ips
    generate_target synth_design get_ports get_clocks create_clock opt_design place_design phys_opt_design route_design
    get_timing_paths exit
} {
    interp alias vivado $command {} $command
}
interp eval vivado [list set auto_noexec 1]
interp eval vivado [list set argv [lrange $argv 2 end]]
interp eval vivado [list set argc [expr {[llength $argv] - 2}]]
if {[catch {interp eval vivado [list source $script]} message]} {
    puts $message
    exit 1
}
exit 0
