def copy[width: Int](idx: Coord) {var input} -> SIMD[output.dtype, width]:
    return input.load[width](idx)
foreach[target=target](copy, output, ctx)
