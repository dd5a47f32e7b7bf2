// Stand-in for the vendor's ap_axi_sdata.h in C simulation with g++; synthesis uses the real one.
#ifndef COEXPLORE_SHIM_AP_AXI_SDATA_H
#define COEXPLORE_SHIM_AP_AXI_SDATA_H

#include <ap_int.h>

template <int W, int U, int TI, int TD> struct ap_axiu {
    ap_uint<W> data;
    ap_uint<W / 8> keep;
    ap_uint<W / 8> strb;
    ap_uint<1> last;
};

#endif
