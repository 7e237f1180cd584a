"""An interactive workbook to learn launching GPU kernels with MAX and Mojo, with or without a GPU."""
