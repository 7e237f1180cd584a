comptime device = "gpu"
foreach[target=device](add_one, output, ctx)
