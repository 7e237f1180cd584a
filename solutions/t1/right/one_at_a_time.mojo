foreach[target=target, simd_width=1](add_one, output, ctx)
