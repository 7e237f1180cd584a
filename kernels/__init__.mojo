"""The finished GPU kernels of the workbook, one module a kernel."""
