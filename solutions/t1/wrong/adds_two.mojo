def add_two[width: Int](idx: Coord) {var input} -> SIMD[output.dtype, width]:
    return input.load[width](idx) + 2
foreach[target=target](add_two, output, ctx)
