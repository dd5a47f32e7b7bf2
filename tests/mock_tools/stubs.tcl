# Stand-ins for the commands of Vivado HLS, Vitis HLS and Vitis Unified: each knows the real command's options and refuses
# others as the tool does. Usage: tclsh stubs.tcl FLAVOUR PYTHON MOCK_HLS SCRIPT ARGUMENT...
lassign $argv flavour python mock script
set ::argv [concat [list -f $script] [lrange $argv 4 end]]
set ::argv0 $flavour

proc fail {message} {
    puts "ERROR: $message"
    exit 1
}

# Split arguments into options with a value, flags and the rest; returns a dict with the keys found and "rest".
proc options {command valued flags arguments} {
    set found [dict create rest {}]
    for {set i 0} {$i < [llength $arguments]} {incr i} {
        set a [lindex $arguments $i]
        if {[lsearch -exact $valued $a] >= 0} {
            if {$i + 1 == [llength $arguments]} { fail "\[HLS 200-101\] '$command': Missing value for option '$a'." }
            dict set found $a [lindex $arguments [incr i]]
        } elseif {[lsearch -exact $flags $a] >= 0} {
            dict set found $a 1
        } elseif {[string match -* $a]} {
            fail "\[HLS 200-101\] '$command': Unknown option '$a'."
        } else {
            dict lappend found rest $a
        }
    }
    return $found
}

proc need {name what} {
    if {![info exists ::state($name)]} { fail "\[HLS 200-106\] $what" }
    return $::state($name)
}

proc one {command found} {
    if {[llength [dict get $found rest]] != 1} {
        fail "\[HLS 200-101\] '$command': one argument wanted, got '[dict get $found rest]'."
    }
    return [lindex [dict get $found rest] 0]
}

array set ::state {sources {} tests {}}

if {$flavour eq "vitis-run"} {
    proc open_component {args} {
        set found [options open_component {-flow_target} {-reset} $args]
        if {[dict exists $found -flow_target] && [dict get $found -flow_target] ni {vivado vitis}} { fail "bad flow target" }
        set ::state(place) [file join [one open_component $found] hls]
        set ::state(project) 1
    }
}
proc open_project {args} {
    set ::state(project) [one open_project [options open_project {} {-reset -upgrade} $args]]
}
proc open_solution {args} {
    need project "No project is open."
    set valued [expr {$::flavour eq "vivado_hls" ? {} : {-flow_target}}]
    set ::state(place) [file join $::state(project) [one open_solution [options open_solution $valued {-reset} $args]]]
}
proc set_top {args} {
    need project "No project is open."
    set ::state(top) [one set_top [options set_top {} {} $args]]
}
proc add_files {args} {
    need project "No project is open."
    set found [options add_files {-cflags -csimflags -blackbox} {-tb} $args]
    foreach file [dict get $found rest] {
        if {![file exists $file]} { fail "\[HLS 200-642\] The 'add_files' command: file '$file' does not exist." }
        lappend ::state([expr {[dict exists $found -tb] ? "tests" : "sources"}]) $file
    }
}
proc set_part {args} {
    need place "No solution is open."
    set ::state(part) [one set_part [options set_part {-tool} {} $args]]
    puts "INFO: \[HLS 200-1611\] Setting target device to '$::state(part)'"
}
proc create_clock {args} {
    need place "No solution is open."
    set found [options create_clock {-period -name} {} $args]
    set ::state(period) [dict get $found -period]
    if {![string is double -strict $::state(period)]} { fail "\[HLS 200-101\] 'create_clock': bad period '$::state(period)'." }
    puts "INFO: \[SYN 201-201\] Setting up clock 'default' with a period of $::state(period)ns."
}
proc set_clock_uncertainty {args} {
    need period "No clock is defined."
    set value [lindex [dict get [options set_clock_uncertainty {} {} $args] rest] 0]
    if {[string match *% $value]} { set value [expr {$::state(period) * [string trimright $value %] / 100.0}] }
    set ::state(uncertainty) $value
}
proc report {step} {
    need top "No top function is set."
    need part "No part is set."
    need period "No clock is defined."
    if {![llength $::state(sources)]} { fail "\[HLS 200-70\] No source files." }
    if {![info exists ::state(uncertainty)]} { set ::state(uncertainty) 0 }
    exec $::python $::mock $step $::flavour [file normalize $::state(place)] $::state(top) $::state(part) $::state(period) \
        $::state(uncertainty) {*}$::state(sources) >@stdout 2>@stderr
}
proc csim_design {args} {
    options csim_design {-ldflags -argv -mflags} {-clean -setup -O -profile -compiler} $args
    if {![llength $::state(tests)]} { fail "\[SIM 211-100\] CSim failed: no test bench." }
    puts "INFO: \[SIM 211-1\] CSim done with 0 errors."
}
proc csynth_design {args} {
    options csynth_design {} {-synthesis_check -dump_cfg -dump_post_cfg} $args
    report csynth
    set ::state(synthesised) 1
}
proc cosim_design {args} {
    need synthesised "csynth_design must be run first."
    options cosim_design {-rtl -tool -trace_level -argv -ldflags -mflags} {-O -setup -wave_debug} $args
    report cosim
}
proc export_design {args} {
    need synthesised "csynth_design must be run first."
    set found [options export_design {-rtl -format -flow -description -display_name -library -vendor -version -output} {} $args]
    if {[dict exists $found -format] && [dict get $found -format] ni {ip_catalog xo syn_dcp sysgen rtl}} { fail "bad format" }
    if {[dict exists $found -flow] && [dict get $found -flow] eq "impl"} { report impl }
}
foreach {name valued} {
    config_export {-format -rtl -output -version -vendor}
    config_interface {-m_axi_addr64 -m_axi_alignment_byte_size}
    config_compile {-pipeline_style -name_max_length -pipeline_loops -unsafe_math_optimizations}
    config_rtl {-reset -reset_level -module_prefix}
    config_schedule {-enable_dsp_full_reg}
    config_dataflow {-default_channel -fifo_depth}
} {
    proc $name {args} [format {options %s {%s} {} $args} $name $valued]
}
if {$flavour ne "vivado_hls"} {
    proc set_directive_aggregate {args} { options set_directive_aggregate {-compact} {} $args }
} else {
    proc set_directive_resource {args} { options set_directive_resource {-core -latency} {} $args }
}

source $script
