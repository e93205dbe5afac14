// Peak: what one core can do at most, measured: the bound that benches compare with.
#pragma once

// Fused multiply-adds in registers for about 4 ms of this thread's processor time, as GFLOP/s
// (multiply and add are two). 0: this CPU has no kernel here. Use the median of several.
double peak_fma_gflops(void);
const char *peak_fma_name(void); // "avx512", "avx2", "none"
// The same with products of bytes (VNNI), as GOP/s.
double peak_int8_gops(void);
const char *peak_int8_name(void); // "avx512-vnni", "none"
