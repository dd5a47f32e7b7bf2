"""Programs that stand in for Vitis HLS, Vivado HLS and Vitis Unified in tests; ``fixture.mock_path`` puts them on PATH.

They interpret the generated Tcl with the real ``tclsh`` or check the configuration file key by key, look whether every
file that is named exists and whether the top function is in the sources, and write reports in the tool's own format to
the place where that tool puts them. Steered by environment variables:

COEXPLORE_MOCK_NUMBERS  a JSON file: latency, interval, clock_ns, resources, available, uncertainty of the report
COEXPLORE_MOCK_BIAS     without it: factors on the project's own estimate, as in ``lut=1.4,ff=1.1,latency=1.05``
COEXPLORE_MOCK_FAIL     hang, no_report, stale, truncated, undef, licence, bad_part, exit1, other_top
COEXPLORE_MOCK_PIDS     a file to which ``hang`` writes the numbers of its processes
COEXPLORE_MOCK_CALLS    a file to which every call appends one line
"""
