foreach[target=target](add_one, input, ctx)
