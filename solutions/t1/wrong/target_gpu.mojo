foreach[target="gpu"](add_one, output, ctx)
