#!/bin/sh
# Makes the .ptx files beside this one from kernels.mojo, with the `mojo` of this project's environment.
set -e
cd "$(dirname "$0")"
folder=$(mktemp -d)
mojo build --emit asm --target-accelerator sm_80 kernels.mojo -o "$folder/out.s"
for kernel in vector_add conv1d block_sum matmul; do
    cp "$folder"/out_kernels_${kernel}_*.ptx $kernel.ptx
done
rm -r "$folder"
