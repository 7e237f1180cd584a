foreach[target](add_one, output, ctx)
