foreach[target=target](add_one, output, input, ctx)
