foreach(add_one, output, ctx)
