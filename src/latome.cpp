// The compiled kernels as R CMD INSTALL builds them. R never loads this library: the engine does, by its plain C
// interface (python/latome/kernels/native.py); R only says where it is.
#include "../inst/python/latome/kernels/csrc/kernels.cpp"

#include <R_ext/Rdynload.h>
#include <R_ext/Visibility.h>

extern "C" void attribute_visible R_init_latome(DllInfo *library) {
  R_registerRoutines(library, nullptr, nullptr, nullptr, nullptr);
  R_useDynamicSymbols(library, FALSE);
}
