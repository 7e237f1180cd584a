foreach[target="cpu"](add_one, output, ctx)
