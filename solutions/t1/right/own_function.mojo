def plus_one[width: Int](idx: Coord) {var input} -> SIMD[output.dtype, width]:
    return input.load[width](idx) + 1

foreach[target=target](plus_one, output, ctx)
