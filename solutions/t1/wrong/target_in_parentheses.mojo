foreach(add_one, output, ctx, target=target)
